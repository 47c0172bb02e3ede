"""An MCP server as the rest of the package and the toolkits see it, whatever its state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakMethod

from ._mcp_faults import McpCallError, is_connection_loss, was_never_sent
from ._mcp_link import CallExpiredError, Link, LinkLostError, McpClient
from ._mcp_owner import DEFAULT_TIMING, Owner, ServerState, Timing

if TYPE_CHECKING:
    from .._config import McpServerConfig


class Toolbox(Protocol):
    """The tools of all MCP servers in one AgentScope toolkit, kept up to date."""

    @property
    def toolkit(self) -> Any:
        """The shared toolkit; what is added to it, every later run gets."""
        ...

    def for_run(self) -> Any:
        """Return a toolkit that one run has for itself; cheap."""
        ...


class McpServer:
    """An entry of `mcp_servers`; one event loop, asyncio's. Nothing raises but tool calls.

    Attributes:
        name: Its key in the config.
        config: Its entry there.
        required: Whether the app must not start without it.
    """

    def __init__(
        self,
        name: str,
        config: McpServerConfig,
        new_client: Callable[[], McpClient],
        *,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.name = name
        self.config = config
        self.required: bool = config.required
        self._tools: tuple[Any, ...] = ()
        self._listeners: list[WeakMethod[Callable[[], None]]] = []
        self._owner = Owner(
            name,
            url=config.url if config.transport != "stdio" else None,
            timeout=config.timeout,
            new_client=new_client,
            on_tools=self._set_tools,
            timing=timing,
        )

    @property
    def state(self) -> ServerState:
        """`connecting` until the first attempt is over, then `up` or `down`; `closed` for good."""
        return self._owner.state

    @property
    def reason(self) -> str | None:
        """Why it is down, in words without secrets; None in any other state."""
        return self._owner.reason

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of its tools on the server, as listed last; kept while it is down."""
        return tuple(tool.name for tool in self._tools)

    @property
    def raw_tools(self) -> tuple[Any, ...]:
        """The same as mcp's `Tool` objects."""
        return self._tools

    def subscribe(self, on_tools: Callable[[], None]) -> None:
        """Have a method called whenever the list of tools has changed, while its object lives."""
        self._listeners.append(WeakMethod(on_tools))

    def start(self) -> None:
        """Begin to connect, in a task that outlives the caller's; starting twice is fine."""
        self._owner.start()

    async def settled(self) -> None:
        """Wait until the first attempt to connect has succeeded or failed."""
        await self._owner.settled.wait()

    async def changed(self) -> None:
        """Wait until the state or the tools may have changed, or one more attempt is over."""
        await self._owner.changed()

    async def aclose(self) -> None:
        """Close the connection and end its calls with an error; any task, as often as you like."""
        await self._owner.aclose()

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool by its name on the server and return AgentScope's result.

        A server that is down is tried once more at once. A call that the server cannot have seen,
        because it was started anew in the meantime, is made once more.

        Raises:
            McpCallError: the server is down, went down, or took more than `call_timeout` seconds.
        """
        with contextlib.suppress(_NeverSentError):
            return await self._call_once(name, arguments)
        try:
            return await self._call_once(name, arguments)
        except _NeverSentError:
            raise self._unavailable() from None

    async def _call_once(self, name: str, arguments: dict[str, Any]) -> Any:
        if (link := self._owner.link) is None:
            await self._owner.revive()
            if (link := self._owner.link) is None:
                raise self._unavailable()
        try:
            return await link.call(
                lambda client: client.call_tool(name, arguments), self.config.call_timeout
            )
        except LinkLostError:
            raise self._went_down(link) from None
        except CallExpiredError:
            self._owner.suspect()
            limit = f"{self.config.call_timeout:g} seconds"
            raise McpCallError(f"the tool did not answer within {limit}") from None
        except Exception as error:
            if was_never_sent(error):
                link.lose(error)
                raise _NeverSentError from error
            if is_connection_loss(error):
                link.lose(error)
                raise self._went_down(link) from error
            self._owner.suspect()
            raise

    def _unavailable(self) -> McpCallError:
        if self._owner.is_closing:
            return McpCallError(f"the MCP server {self.name} has been closed")
        why = f" ({self.reason})" if self.reason else ""
        return McpCallError(f"the MCP server {self.name} is down{why}; it may be back later")

    def _went_down(self, link: Link) -> McpCallError:
        if self._owner.is_closing:
            return McpCallError(f"the MCP server {self.name} was closed during the call")
        return McpCallError(f"the MCP server {self.name} went down during the call ({link.reason})")

    def _set_tools(self, tools: tuple[Any, ...]) -> None:
        if tools != self._tools:
            self._tools = tools
            self._listeners = [listener for listener in self._listeners if listener() is not None]
            for listener in self._listeners:
                if (on_tools := listener()) is not None:
                    on_tools()


class _NeverSentError(Exception):
    """The server cannot have seen the call."""
