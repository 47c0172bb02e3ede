"""A real MCP server in a process of its own, with mcp 1.x or 2.x, over any transport.

Run it with `python mcp_server.py stdio`, or `python mcp_server.py sse|streamable_http PORT [PATH]`:
it prints `ready` once it takes connections, and ends when its standard input closes.

Tools: add(a, b), echo(text), slow(seconds), block(seconds) (the whole server with it), fail(),
die() (kills the server), header(name), env(name), cwd(), pid(), peek() (marked read-only), and what
`EXTRA_TOOLS` in its environment names, separated by commas: each of them answers its name.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from mcp.server.fastmcp import Context

PROGRAM = Path(__file__).resolve()


# The program


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def echo(text: str) -> str:
    """Say it again."""
    return text


async def slow(seconds: float) -> str:
    """Wait, then answer."""
    await anyio.sleep(seconds)
    return "awake"


async def block(seconds: float) -> str:
    """Let the whole server wait, then answer."""
    time.sleep(seconds)  # noqa: ASYNC251  it is what this tool is for
    return "unblocked"


def fail() -> str:
    """Raise an error."""
    raise ValueError("tool boom")


def die() -> str:
    """Kill the server."""
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def header(name: str, ctx: Context) -> str:
    """Return a header of the request that this call came in."""
    return str(ctx.request_context.request.headers.get(name, "absent"))


def env(name: str) -> str:
    """Return an environment variable of the server."""
    return os.environ.get(name, "absent")


def cwd() -> str:
    """Return the folder that the server runs in."""
    return str(Path.cwd())


def pid() -> str:
    """Return the server's process id."""
    return str(os.getpid())


def peek() -> str:
    """Look at something, changing nothing."""
    return "peeked"


def build(path: str | None) -> tuple[Any, dict[str, Any]]:
    """Return the server with its tools, and what mcp 2.x wants to be told later."""
    from mcp.types import ToolAnnotations

    later: dict[str, Any] = {}
    try:
        from mcp.server.fastmcp import Context, FastMCP

        paths = {"sse_path": path, "streamable_http_path": path} if path else {}
        server: Any = FastMCP("test", log_level="CRITICAL", **paths)
        read_only = ToolAnnotations(readOnlyHint=True)
    except ModuleNotFoundError:
        from mcp.server.mcpserver import Context, MCPServer

        server = MCPServer("test", log_level="CRITICAL")
        later = {"path": path} if path else {}
        read_only = ToolAnnotations(read_only_hint=True)
    # mcp looks the annotations of the functions above up by name in this module.
    globals()["Context"] = Context
    for tool in (add, echo, slow, block, fail, die, header, env, cwd, pid):
        server.tool()(tool)
    server.tool(annotations=read_only)(peek)
    for name in filter(None, os.environ.get("EXTRA_TOOLS", "").split(",")):

        def extra(own: str = name) -> str:
            """Answer the name."""
            return own

        server.tool(name=name)(extra)
    return server, later


def main(transport: str, port: int = 0, path: str | None = None) -> None:
    """Serve until standard input closes, or, over stdio, until mcp ends it."""
    server, later = build(path)
    if transport == "stdio":
        server.run("stdio")
        return
    import uvicorn

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)  # from here on connections wait in the backlog
    if transport == "sse":
        app = server.sse_app(**({"sse_path": later["path"]} if later else {}))
    else:
        app = server.streamable_http_app(
            **({"streamable_http_path": later["path"]} if later else {})
        )

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


# What tests use


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class McpProcess:
    """An HTTP server that can be started, killed, stopped and started again on the same port."""

    def __init__(self, transport: str, path: str | None = None, *, extra_tools: str = "") -> None:
        self.transport = transport
        self.port = free_port()
        self.path = path or ("/sse" if transport == "sse" else "/mcp")
        self._extra_tools = extra_tools
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self) -> None:
        """Start it; returns when it takes connections. Its modules take a second to import."""
        command = [sys.executable, str(PROGRAM), self.transport, str(self.port), self.path]
        environment = {**os.environ, "EXTRA_TOOLS": self._extra_tools}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """Kill it, if it runs, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
            self._process = None

    def freeze(self) -> None:
        """Let it hold its connections and never answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)


@contextmanager
def mcp_process(
    transport: str, path: str | None = None, *, started: bool = True, extra_tools: str = ""
) -> Iterator[McpProcess]:
    """Run a server for the block; `started=False` only chooses its port."""
    server = McpProcess(transport, path, extra_tools=extra_tools)
    try:
        if started:
            server.start()
        yield server
    finally:
        server.kill()


if __name__ == "__main__":
    transport, *rest = sys.argv[1:]
    main(transport, *(int(part) if part.isdigit() else part for part in rest))  # type: ignore[arg-type]  # a port, then a path
