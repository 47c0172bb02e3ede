"""What the rest of the package knows of AgentScope, whichever generation is installed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from .._message import Msg, WireMessage

if TYPE_CHECKING:
    from .._config import McpServerConfig, ModelConfig
    from ._mcp import McpServer

Generation: TypeAlias = Literal[1, 2]
Converter: TypeAlias = Callable[[object], list[WireMessage]]


class Toolbox(Protocol):
    """One toolkit with the tools of all MCP servers, which follows them as they come and go."""

    @property
    def toolkit(self) -> Any:
        """The toolkit that those of the runs are copied from; what it gets, every run gets."""
        ...

    def for_run(self) -> Any:
        """Return a toolkit for one run, which may change it without another run noticing."""
        ...


class Adapter(Protocol):
    """One generation of AgentScope. Stateless; every call belongs in an asyncio event loop."""

    @property
    def generation(self) -> Generation:
        """AgentScope's major version."""
        ...

    def make_model(self, config: ModelConfig) -> Any:
        """Build a chat model of a built-in provider; connects to nothing.

        Raises:
            ValueError: it cannot be built; the text holds no value of the configuration.
        """
        ...

    async def close_model(self, model: Any) -> None:
        """Close the connections of a model, after the last call that uses it. Never raises."""
        ...

    def mcp_server(self, name: str, config: McpServerConfig, *, cwd: str) -> McpServer:
        """Return the supervisor of one MCP server, not started; `cwd` is a stdio server's."""
        ...

    def toolbox(self, servers: Sequence[McpServer]) -> Toolbox:
        """Return the toolkit that holds the tools of these servers."""
        ...

    def message_in(self, message: WireMessage) -> Any:
        """Turn a caller's message (role user, text and media only) into AgentScope's `Msg`.

        Raises:
            InvalidRequestError: a block is none that this generation knows; names its place.
        """
        ...

    def outgoing(self) -> Converter:
        """Return a converter for one run: a `Msg` or an event to the messages to send.

        Events that say nothing to a client give an empty list. It remembers the open messages
        of its run, so that each run needs its own.
        """
        ...

    def owns(self, item: object) -> bool:
        """Say whether this is an AgentScope message or event, thus one for `outgoing()`."""
        ...

    def enter_run(self, session_id: str, *, traced: bool = False) -> None:
        """Set AgentScope's context variables for a run, in the current context.

        1.x keeps the conversation's id and its trace switch there; 2.x keeps nothing.

        Args:
            session_id: The conversation.
            traced: Switch tracing on; False leaves the switch to the app.
        """
        ...

    def stream_agent(
        self, agent: Any, msg: Any, *, confirm: Sequence[Any] | None = None
    ) -> AsyncGenerator[Msg, None]:
        """See `asgi_agentrt.agentscope.stream_agent`; `confirm` is `SessionContext.confirm`."""
        ...
