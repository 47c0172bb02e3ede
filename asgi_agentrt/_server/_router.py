"""Our routes: which there are, and what they answer before any of them runs."""

from __future__ import annotations

from contextlib import suppress

import anyio

from .._runtime import Runtime
from .._types import Receive, Scope, Send
from ..exceptions import NotReadyError
from . import _sessions as sessions
from ._answers import HTTPError, as_http_error, send_empty, send_error
from ._health import health, live, ready
from ._instance import Instance
from ._invoke import invoke
from ._paths import locate

_METHODS = {
    "/invoke": ("POST", "OPTIONS"),
    "/health": ("GET", "HEAD", "OPTIONS"),
    "/health/live": ("GET", "HEAD", "OPTIONS"),
    "/health/ready": ("GET", "HEAD", "OPTIONS"),
}

_SESSION_METHODS = ("GET", "HEAD", "DELETE", "OPTIONS")

# A health check that is the first request waits this long for the start that it has begun.
_FIRST_HEALTH_WAIT_S = 1.0


async def handle_http(instance: Instance, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request; nothing is ever redirected."""
    is_head = scope["method"] == "HEAD"
    try:
        await _dispatch(instance, scope, receive, send, is_head=is_head)
    except HTTPError as error:
        await send_error(send, error, is_head=is_head)


async def _dispatch(
    instance: Instance, scope: Scope, receive: Receive, send: Send, *, is_head: bool
) -> None:
    location = locate(scope)
    path = "" if location is None else location.path
    methods = _SESSION_METHODS if path.startswith(sessions.PREFIX) else _METHODS.get(path)
    if methods is None:
        raise HTTPError("NOT_FOUND", "there is POST /invoke and GET /health")
    allow = (b"allow", ", ".join(methods).encode())
    if scope["method"] not in methods:
        raise HTTPError("METHOD_NOT_ALLOWED", f"allowed: {', '.join(methods)}", [allow])
    if scope["method"] == "OPTIONS":
        await send_empty(send, 204, [allow])
    elif path == "/invoke":
        runtime = await _ready(instance, scope)
        await invoke(runtime, instance.identity, scope, receive, send)
    elif path == "/health/live":
        await live(send, is_head=is_head)
    elif path.startswith(sessions.PREFIX):
        runtime = await _ready(instance, scope)
        session_id = path[len(sessions.PREFIX) :]
        await sessions.handle_session(runtime, instance.identity, session_id, scope, send)
    else:
        await _start_if_nobody_did(instance, scope)
        answer = health if path == "/health" else ready
        await answer(instance, send, is_head=is_head)


async def _ready(instance: Instance, scope: Scope) -> Runtime:
    try:
        return await instance.ready(scope)
    except NotReadyError as error:
        raise as_http_error(error) from error


async def _start_if_nobody_did(instance: Instance, scope: Scope) -> None:
    # Not ready is what the answer will say.
    with (
        anyio.move_on_after(_FIRST_HEALTH_WAIT_S if instance.runtime is None else 0),
        suppress(NotReadyError),
    ):
        await instance.ready(scope)
