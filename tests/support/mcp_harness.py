"""What the tests of MCP servers share: the installed generation's parts, configs, short limits."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import os
import sys
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from asgi_agentrt._agentscope._mcp import McpServer
from asgi_agentrt._agentscope._mcp_owner import Timing
from asgi_agentrt._config import McpServerConfig

from .mcp_server import PROGRAM, McpProcess

try:
    GENERATION = int(importlib.metadata.version("agentscope").split(".")[0])
except importlib.metadata.PackageNotFoundError:
    GENERATION = 0

FAST = Timing(probe=0.2, busy_probe=0.1, backoff=0.05, backoff_limit=0.2, close=3, revive=10)
# Nothing happens by itself: only what the test does.
LAZY = Timing(probe=60, busy_probe=60, backoff=0.05, backoff_limit=60, close=3, revive=10)
LIMIT_S = 30


def config(**changes: Any) -> McpServerConfig:
    """Return a config entry with limits that suit a test."""
    return McpServerConfig(**{"timeout": 10, "sse_read_timeout": 60, "call_timeout": 10, **changes})


def tools_module() -> ModuleType:
    """Return `_v1._tools` or `_v2._tools`, whichever fits what is installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AgentScope's own, at import
        return importlib.import_module(f"asgi_agentrt._agentscope._v{GENERATION}._tools")


def http(
    process: McpProcess, name: str = "srv", *, timing: Timing = FAST, **changes: Any
) -> McpServer:
    """Return a supervisor, not started, of a server over HTTP."""
    entry = config(**{"transport": process.transport, "url": process.url, **changes})
    server: McpServer = tools_module().mcp_server(name, entry, cwd=".", timing=timing)
    return server


def stdio(
    name: str = "srv", *, timing: Timing = FAST, cwd: str | Path = ".", **changes: Any
) -> McpServer:
    """Return a supervisor, not started, of a server over stdio."""
    command = {"command": sys.executable, "args": (str(PROGRAM), "stdio")}
    entry = config(**{"transport": "stdio", **command, **changes})
    server: McpServer = tools_module().mcp_server(name, entry, cwd=str(cwd), timing=timing)
    return server


async def until(server: McpServer, state: str) -> None:
    """Wait until the server is in this state."""
    while server.state != state:
        await server.changed()


@asynccontextmanager
async def running(*servers: McpServer) -> AsyncIterator[None]:
    """Start servers, wait for their first attempts, and close them in the end."""
    for server in servers:
        server.start()
    try:
        for server in servers:
            await server.settled()
        yield
    finally:
        for server in servers:
            await server.aclose()


def text(result: Any) -> str:
    """Return the text of AgentScope's tool result, of either generation."""
    block = result.content[0]
    return str(block["text"] if isinstance(block, dict) else block.text)


def other_tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks of this loop but the current one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


def open_files() -> int:
    """Return how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def exists(process_id: int | str) -> bool:
    """Say whether there is such a process, zombies included."""
    return Path(f"/proc/{process_id}").exists()


def children() -> set[int]:
    """Return the processes that this one has started and that still exist, zombies included."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(entry.name))
    return found
