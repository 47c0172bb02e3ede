"""AgentScope 2.x: MCP clients, and the toolkit that holds their tools."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentscope.mcp import HttpMCPConfig, MCPClient, StdioMCPConfig
from agentscope.permission import PermissionBehavior, PermissionDecision
from agentscope.tool import MCPTool, ToolGroup, Toolkit
from mcp import ClientSession

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
        ValueError: this AgentScope cannot speak the transport at that url.
    """
    _client(name, config, cwd)
    return McpServer(name, config, lambda: _Client(_client(name, config, cwd)), timing=timing)


def toolbox(servers: Sequence[McpServer]) -> Toolbox:
    """Return a toolbox with the tools of these servers, in this order."""
    return Toolbox(servers)


class _OwnClient(MCPClient):
    """AgentScope's client, told its transport, and closed in the task that connected it."""

    @property
    def _is_sse(self) -> bool:
        return False

    async def connect(self) -> None:
        """Connect; up to 2.0.10 not with AgentScope's own code.

        That closes what a failed attempt has opened in another task, where mcp 1.x's cancel scopes
        cannot be left: the cause is lost, and the event loop may never be idle again.
        """
        if "_stack" not in MCPClient.__private_attributes__:
            await super().connect()
            return
        async with AsyncExitStack() as stack:
            transport = self._client or self._create_http_client()
            streams = await stack.enter_async_context(transport)
            self._session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
            await self._session.initialize()
            self._stack = stack.pop_all()
            self._is_connected = True


class _SseClient(_OwnClient):
    """The same over SSE."""

    @property
    def _is_sse(self) -> bool:
        return True


def _client(name: str, config: McpServerConfig, cwd: str) -> Any:
    if config.transport == "stdio":
        where: Any = StdioMCPConfig(
            command=config.command or "",
            args=list(config.args),
            env=dict(config.env) or None,
            cwd=cwd,
        )
        return _OwnClient(name=clean_name(name), is_stateful=True, mcp_config=where)
    url, speaks_sse = config.url or "", config.transport == "sse"
    if not hasattr(MCPClient, "_is_sse") and (
        urlsplit(url).path.endswith(("/sse", "/messages/")) is not speaks_sse
    ):
        raise ValueError(
            "this version of AgentScope speaks sse to a url whose path ends in /sse or /messages/,"
            f" and streamable_http to any other: {config.transport} does not fit this url"
        )
    where = HttpMCPConfig(
        url=url,
        headers=dict(config.headers) or None,
        # Streamable HTTP: it also limits how long the server may think about an answer.
        timeout=config.timeout if speaks_sse else max(config.timeout, config.sse_read_timeout),
    )
    kind = _SseClient if speaks_sse else _OwnClient
    return kind(name=clean_name(name), is_stateful=True, mcp_config=where)


class _Client:
    """One connection with AgentScope's client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def connect(self) -> None:
        await self._client.connect()

    async def close(self) -> None:
        if self._client.is_connected:
            await self._client.close(ignore_errors=False)

    async def list_tools(self) -> list[Any]:
        return await self._client.list_raw_tools()

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        tool = await self._client.get_tool(name)
        return await tool.call(**arguments)


class _ServerTool(MCPTool):
    """A tool that is called through whatever connection its server has now."""

    def __init__(self, server: McpServer, tool: Any) -> None:
        # AgentScope wants a session here; ours changes, so that it is found at each call.
        super().__init__(mcp_name=clean_name(server.name), tool=tool, session=server)
        self._server = server
        self._own_name = tool.name
        if server.config.permission == "deny":
            self.is_read_only = False  # it would be allowed before anybody asks

    async def check_permissions(self, *args: Any, **kwargs: Any) -> Any:
        """Decide by the config: `allow`, `deny`, or `ask`, which is what AgentScope does."""
        permission = self._server.config.permission
        if permission == "allow":
            return PermissionDecision(
                behavior=PermissionBehavior.ALLOW, message="Allowed by the configuration."
            )
        if permission == "deny":
            return PermissionDecision(
                behavior=PermissionBehavior.DENY, message="Denied by the configuration."
            )
        return await super().check_permissions(*args, **kwargs)

    async def call(self, **arguments: Any) -> Any:
        """Call the tool; errors become the tool's result in the toolkit."""
        return await self._server.call_tool(self._own_name, arguments)


class ServerTools:
    """What stands in a toolkit's `mcps` for a server; lists what is known, without asking it.

    AgentScope lists the tools of every server at every step and tool call, and waits for a silent
    one without limit. The connection belongs to the runtime: `connect` and `close` do nothing.
    """

    is_stateful = True
    is_connected = True  # a toolkit takes no other; a call to a server that is down says so

    def __init__(self, server: McpServer) -> None:
        self.name = clean_name(server.name)
        self._server = server
        self._tools: list[Any] = []

    def rename(self, taken: set[str]) -> None:
        """Take over the server's tools, under names that nobody has, and add these to `taken`."""
        self._tools = [_ServerTool(self._server, tool) for tool in self._server.raw_tools]
        for tool in self._tools:
            tool.name = free_name(taken, tool.name)
            taken.add(tool.name)

    async def list_tools(self) -> list[Any]:
        """Return the tools as AgentScope's objects."""
        return list(self._tools)

    async def list_raw_tools(self) -> list[Any]:
        """Return the tools as mcp's objects."""
        return list(self._server.raw_tools)

    async def get_tool(self, name: str) -> Any:
        """Return the tool with this name on the server.

        Raises:
            ValueError: it has none.
        """
        for raw, tool in zip(self._server.raw_tools, self._tools, strict=False):
            if raw.name == name:
                return tool
        raise ValueError(f"the MCP server {self.name} has no tool {name}")

    async def connect(self) -> None:
        """Do nothing."""

    async def close(self, ignore_errors: bool = True) -> None:  # noqa: FBT001, FBT002  AgentScope's signature
        """Do nothing."""


class Toolbox:
    """One toolkit with the tools of all servers, kept up to date.

    Tools are called `mcp__<server>__<tool>`, as always in 2.x. Those of a server that went down
    stay, and answer that it is down; those of a server that comes up appear in every toolkit.
    """

    def __init__(self, servers: Sequence[McpServer]) -> None:
        self._mcps = [ServerTools(server) for server in servers]
        self._toolkit = Toolkit(mcps=self._mcps)
        for server in servers:
            server.subscribe(self._refresh)
        self._refresh()

    @property
    def toolkit(self) -> Any:
        """The toolkit that the copies are made from; what is added here, every run gets."""
        return self._toolkit

    def for_run(self) -> Any:
        """Return a toolkit for one run, whose lists of tools are its own.

        An agent of 2.x adds tools to its toolkit, and removes them, while it answers. A toolkit
        that is made, and not copied, costs a run some milliseconds for the schema of a meta tool.
        """
        private = copy.copy(self._toolkit)
        private.tool_groups = [_copy_of(group) for group in self._toolkit.tool_groups]
        meta, viewer = self._toolkit.builtin_meta_tool, self._toolkit.builtin_skill_viewer
        private.builtin_meta_tool = copy.copy(meta)
        private.builtin_meta_tool.tool = copy.copy(meta.tool)
        private.builtin_meta_tool.tool.groups = private.tool_groups
        private.builtin_skill_viewer = dataclasses.replace(
            viewer,
            tool=type(viewer.tool)(get_skills_method=private._get_available_skills),  # noqa: SLF001  as its constructor does
        )
        return private

    def _refresh(self) -> None:
        taken: set[str] = set()
        for mcp in self._mcps:
            mcp.rename(taken)


def _copy_of(group: ToolGroup) -> ToolGroup:
    private = copy.copy(group)
    private.tools = list(group.tools)
    private.mcps = list(group.mcps)
    private.skills_or_loaders = list(group.skills_or_loaders)
    return private
