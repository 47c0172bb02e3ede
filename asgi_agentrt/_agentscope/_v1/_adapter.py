"""The adapter of AgentScope 1.x."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final

from agentscope import _config
from agentscope.message import Msg

from ..._message import Msg as OwnMsg
from ..._message import WireMessage
from .._adapter import Converter, Generation, Toolbox
from . import _messages, _models, _streaming, _tools

if TYPE_CHECKING:
    from ..._config import McpServerConfig, ModelConfig
    from .._mcp import McpServer


class Adapter1:
    """AgentScope 1.x, as `asgi_agentrt._agentscope.Adapter` describes it."""

    @property
    def generation(self) -> Generation:
        """AgentScope's major version."""
        return 1

    def make_model(self, config: ModelConfig) -> Any:
        """Build a chat model."""
        return _models.make_model(config)

    async def close_model(self, model: Any) -> None:
        """Close a chat model's client."""
        await _models.close_model(model)

    def mcp_server(self, name: str, config: McpServerConfig, *, cwd: str) -> McpServer:
        """Return the supervisor of an MCP server."""
        return _tools.mcp_server(name, config, cwd=cwd)

    def toolbox(self, servers: Sequence[McpServer]) -> Toolbox:
        """Return the toolkit that holds the tools of these servers."""
        return _tools.toolbox(servers)

    def message_in(self, message: WireMessage) -> Any:
        """Build the `Msg` of a caller's message."""
        return _messages.message_in(message)

    def outgoing(self) -> Converter:
        """Return a converter for one run."""
        return _messages.convert

    def owns(self, item: object) -> bool:
        """Say whether this is an AgentScope message."""
        return isinstance(item, Msg)

    def enter_run(self, session_id: str, *, traced: bool = False) -> None:
        """Set the conversation's id and the trace switch in the current context."""
        _config.run_id = session_id
        if traced:
            _config.trace_enabled = True

    def stream_agent(
        self, agent: Any, msg: Any, *, confirm: Sequence[Any] | None = None
    ) -> AsyncGenerator[OwnMsg, None]:
        """Stream an agent's turn; 1.x asks nobody, so that there is nothing to confirm."""
        return _streaming.stream_agent(agent, msg)


adapter: Final[Adapter1] = Adapter1()
