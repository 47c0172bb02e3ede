"""Whole answers: JSON with a status, and the table of error codes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio

from .._types import Send
from ..exceptions import InvocationError, NotReadyError, SessionBusyError

RawHeaders = Iterable[tuple[bytes, bytes]]

STATUS = {
    "INVALID_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "SESSION_BUSY": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "APP_ERROR": 500,
    "INTERNAL": 500,
    "CANCELLED": 503,
    "NOT_READY": 503,
    "OVERLOADED": 503,
}

# What no client waits for any more: nginx's code for a request whose client has left.
CLIENT_LEFT_STATUS = 499


class HTTPError(Exception):
    """An answer that ends the handling of a request; `code` is one of `STATUS`."""

    def __init__(self, code: str, message: str, headers: RawHeaders = ()) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.headers = tuple(headers)


def as_http_error(error: InvocationError, run_id: str | None = None) -> HTTPError:
    """Return the answer for a call that was refused or failed."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, NotReadyError):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    elif error.code in ("OVERLOADED", "SESSION_BUSY", "CANCELLED"):
        headers.append((b"retry-after", b"1"))
    if isinstance(error, SessionBusyError):
        run_id = error.run_id
    if run_id is not None:
        headers.append((b"x-run-id", run_id.encode()))
    return HTTPError(error.code, str(error), headers)


def encode_body(body: Any) -> bytes:
    """Return compact UTF-8 JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


async def send_json(
    send: Send, status: int, body: bytes, headers: RawHeaders = (), *, is_head: bool = False
) -> None:
    """Send a whole JSON answer; a HEAD request gets the headers alone."""
    start = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": b"" if is_head else body})


async def send_error(send: Send, error: HTTPError, *, is_head: bool = False) -> None:
    """Send the error as JSON."""
    body = encode_body({"error": {"code": error.code, "message": error.message}})
    await send_json(send, STATUS[error.code], body, error.headers, is_head=is_head)


async def send_empty(send: Send, status: int, headers: RawHeaders = ()) -> None:
    """Send an answer without a body."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b""})


async def answer_nobody(send: Send) -> None:
    """End a request whose client has left.

    Middlewares such as Starlette's `BaseHTTPMiddleware` take a missing answer for a fault; on a
    dead connection, servers drop this one silently or block.
    """
    with anyio.move_on_after(1, shield=True), suppress(OSError):
        await send_empty(send, CLIENT_LEFT_STATUS)
