"""What went wrong with an MCP connection, in words that hold no address, header or secret."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from urllib.parse import urlsplit

import anyio

_CONNECTION_CLOSED = -32000
_METHOD_NOT_FOUND = -32601
_SESSION_TERMINATED = "Session terminated"
# Names, because the classes belong to mcp, httpx and httpx2, which this module does not import.
_BY_NAME = {
    "ConnectError": "connection refused",
    "ReadError": "connection closed",
    "RemoteProtocolError": "connection closed",
    "ConnectTimeout": "no answer in time",
    "ReadTimeout": "no answer in time",
}
_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, "connection closed"),
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "host name not found"),
    (ssl.SSLError, "TLS handshake failed"),
    (FileNotFoundError, "command not found"),
    (PermissionError, "permission denied"),
    (asyncio.CancelledError, "connection lost"),
    (anyio.ClosedResourceError, "connection closed"),
    (anyio.BrokenResourceError, "connection closed"),
    (anyio.EndOfStream, "connection closed"),
)


class McpCallError(RuntimeError):
    """A tool call that could not be made or was not answered; its text is meant for the agent."""


def reason_of(error: BaseException) -> str:
    """Say what happened; never the error's own text, which may hold a URL with a token."""
    error = root_of(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return f"HTTP status {status}"
    if (code := rpc_code(error)) is not None:
        return "connection closed" if is_connection_loss(error) else f"MCP error {code}"
    for kind, reason in _BY_TYPE:
        if isinstance(error, kind):
            return reason
    return _BY_NAME.get(type(error).__name__, type(error).__name__)


def root_of(error: BaseException) -> BaseException:
    """Return the first error of a group that is not a mere cancellation."""
    while isinstance(error, BaseExceptionGroup):
        inner = error.exceptions
        told = [one for one in inner if not isinstance(one, asyncio.CancelledError)]
        error = (told or inner)[0]
    return error


def rpc_code(error: BaseException) -> int | None:
    """Return the code of a JSON-RPC error (`McpError`, `MCPError`), None for any other error."""
    code = getattr(getattr(error, "error", None), "code", None)
    return code if isinstance(code, int) else None


def is_connection_loss(error: BaseException) -> bool:
    """Whether this error of a request says that the connection is of no use any more."""
    error = root_of(error)
    if rpc_code(error) is None:
        return was_never_sent(error)
    return rpc_code(error) == _CONNECTION_CLOSED or was_never_sent(error)


def was_never_sent(error: BaseException) -> bool:
    """Whether the server cannot have acted on the request: it may be sent once more.

    A server that was started anew does not know the session (MCP asks for a new one then), and a
    closed stream took nothing.
    """
    error = root_of(error)
    if rpc_code(error) is not None:
        return str(error) == _SESSION_TERMINATED
    return isinstance(error, anyio.ClosedResourceError | anyio.BrokenResourceError)


def has_no_tools(error: BaseException) -> bool:
    """Whether the server answered that it does not know how to list tools."""
    return rpc_code(root_of(error)) == _METHOD_NOT_FOUND


def is_answer(error: BaseException) -> bool:
    """Whether the error came from a server that lives."""
    return rpc_code(root_of(error)) is not None and not is_connection_loss(error)


async def check_listening(url: str) -> None:
    """Open and close a plain TCP connection to where the url points.

    The clients of mcp 1.x report a refused connection by cancelling the task that connects; asked
    like this, the operating system says it clearly. A proxy would hide the server: nothing is
    asked then.

    Raises:
        OSError: nobody listens there, or the name cannot be resolved.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  only MCP needs it

    proxies = getproxies()
    if (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(host):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
