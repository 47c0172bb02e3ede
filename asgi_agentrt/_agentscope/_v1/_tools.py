"""AgentScope 1.x: MCP clients, and the toolkit that holds their tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentscope.mcp import HttpStatefulClient, MCPToolFunction, StdIOStatefulClient
from agentscope.tool import Toolkit

from .._mcp import McpServer
from .._mcp_names import clean_name, free_name
from .._mcp_owner import DEFAULT_TIMING, Timing

if TYPE_CHECKING:
    from ..._config import McpServerConfig


def mcp_server(
    name: str, config: McpServerConfig, *, cwd: str, timing: Timing = DEFAULT_TIMING
) -> McpServer:
    """Return the server of a config entry, not started; `cwd` is where a stdio server runs.

    Raises:
        ValueError: the entry restricts its tools, which this generation cannot.
    """
    if config.permission != "allow":
        raise ValueError(f"permission: {config.permission} needs AgentScope 2.x")
    return McpServer(name, config, lambda: _Client(_client(name, config, cwd)), timing=timing)


def toolbox(servers: Sequence[McpServer]) -> Toolbox:
    """Return a toolbox with the tools of these servers, in this order."""
    return Toolbox(servers)


def _client(name: str, config: McpServerConfig, cwd: str) -> Any:
    if config.transport == "stdio":
        return StdIOStatefulClient(
            name, config.command, list(config.args), dict(config.env) or None, cwd
        )
    return HttpStatefulClient(
        name,
        config.transport,
        config.url,
        dict(config.headers) or None,
        config.timeout,
        config.sse_read_timeout,
    )


class _Client:
    """One connection with AgentScope's client, which cannot connect a second time."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def connect(self) -> None:
        try:
            await self._client.connect()
        except BaseException:
            # AgentScope leaves everything open when it was cancelled, which is how mcp reports most
            # failures; what closing raises is the cause.
            await self.close()
            raise

    async def close(self) -> None:
        if self._client.is_connected:
            await self._client.close(ignore_errors=False)
        elif self._client.stack is not None:
            stack, self._client.stack = self._client.stack, None
            await stack.aclose()

    async def list_tools(self) -> list[Any]:
        return await self._client.list_tools()

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        function = await self._client.get_callable_function(name)
        return await function(**arguments)


def _no_client() -> Any:
    raise RuntimeError("the tool is called through its server")


class _ServerTool(MCPToolFunction):
    """A tool that is called through whatever connection its server has now."""

    def __init__(self, server: McpServer, tool: Any) -> None:
        super().__init__(server.name, tool, wrap_tool_result=True, client_gen=_no_client)
        self._server = server

    async def __call__(self, **arguments: Any) -> Any:
        return await self._server.call_tool(self.name, arguments)


class Toolbox:
    """One toolkit with the tools of all servers, kept up to date.

    A tool keeps its own name; one that is taken by a server further up in the config, or by a
    function, becomes `<server>_<tool>`. Tools of a server that went down stay, and answer that it
    is down.
    """

    def __init__(self, servers: Sequence[McpServer]) -> None:
        self._servers = tuple(servers)
        self._toolkit = Toolkit()
        self._ours: dict[str, Any] = {}
        for server in self._servers:
            server.subscribe(self._refresh)
        self._refresh()

    @property
    def toolkit(self) -> Any:
        """The toolkit that the copies are made from; what is registered here, every run gets."""
        return self._toolkit

    def for_run(self) -> Any:
        """Return a toolkit for one run: the same tools, groups and skills of its own.

        1.x keeps the active groups, and what an agent adds for a moment, in the toolkit.
        """
        base, private = self._toolkit, Toolkit()
        for name, tool in base.tools.items():
            private.tools[name] = dataclasses.replace(tool)
        for name, group in base.groups.items():
            private.groups[name] = dataclasses.replace(group)
        private.skills.update(base.skills)
        private._middlewares.extend(base._middlewares)  # noqa: SLF001  has no public reader
        return private

    def _refresh(self) -> None:
        for name, registered in self._ours.items():
            if self._toolkit.tools.get(name) is registered:
                self._toolkit.remove_tool_function(name)
        self._ours = {}
        for server in self._servers:
            for tool in server.raw_tools:
                own = clean_name(tool.name)
                name = free_name(self._toolkit.tools, own, f"{clean_name(server.name)}_{own}")
                self._toolkit.register_tool_function(_ServerTool(server, tool), func_name=name)
                self._ours[name] = self._toolkit.tools[name]
