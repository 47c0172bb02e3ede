"""What the rest of the package knows of AgentScope, whichever generation is installed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from .._message import Msg, WireMessage

if TYPE_CHECKING:
    from .._config import McpServerConfig, ModelConfig
    from ._mcp import McpServer, Toolbox

Generation: TypeAlias = Literal[1, 2]
Converter: TypeAlias = Callable[[object], list[WireMessage]]

# Names of `models.*.provider` that AgentScope itself serves, and by which generation.
BUILT_IN_PROVIDERS: dict[str, tuple[Generation, ...]] = {
    "anthropic": (1, 2),
    "dashscope": (1, 2),
    "deepseek": (2,),
    "gemini": (1, 2),
    "minimax": (2,),
    "moonshot": (2,),
    "ollama": (1, 2),
    "openai": (1, 2),
    "openai_response": (1, 2),
    "volcengine": (2,),
    "xai": (2,),
}


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

        1.x keeps its trace switch and the conversation's id there; 2.x keeps nothing.
        """
        ...

    def stream_agent(
        self, agent: Any, msg: Any, *, confirm: Sequence[Any] | None = None
    ) -> AsyncGenerator[Msg, None]:
        """See `asgi_agentrt.agentscope.stream_agent`; `confirm` is `SessionContext.confirm`."""
        ...
