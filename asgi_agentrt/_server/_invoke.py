"""POST /invoke."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from .._config import ServerConfig
from .._run import Invocation, Run
from .._runtime import Runtime
from .._types import Receive, Scope, Send
from ..exceptions import InvocationError
from ._access import Identity, check_api_key, identify
from ._answers import HTTPError, answer_nobody, as_http_error, encode_body, send_json
from ._body import ClientLeftError, header, read_json_body
from ._parsing import parse_invocation
from ._stream import EventStream
from ._watch import ClientWatch

# Larger bodies are parsed in a thread: a few megabytes of brackets take a second or two. The
# threads are few and our own, so that such bodies take none from the host.
_INLINE_BYTES = 64 * 1024
_PARSERS = 2
_parsers: RunVar[anyio.CapacityLimiter] = RunVar("asgi_agentrt parsers")


async def invoke(
    runtime: Runtime, identity: Identity | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Read the request, start a run, and answer with its events or its outcome.

    Raises:
        HTTPError: the request is refused; nothing was sent.
    """
    server = runtime.config.server
    check_api_key(scope, server)
    user_id = await identify(identity, scope)
    try:
        body = await read_json_body(
            scope, receive, limit_bytes=server.max_body_bytes, timeout_s=server.send_timeout
        )
    except ClientLeftError:
        await answer_nobody(send)
        return
    try:
        run = await runtime.invoke(await _parse(body, user_id))
    except InvocationError as error:
        raise as_http_error(error) from error
    if _wants_json(scope):
        await _answer_whole(run, server, receive, send)
    else:
        stream = EventStream(
            run,
            clock=runtime.clock,
            ping_interval_s=server.ping_interval,
            send_timeout_s=server.send_timeout,
            keep_run=server.on_disconnect == "continue",
        )
        await stream.serve(receive, send)


async def _parse(body: bytes, user_id: str | None) -> Invocation:
    if len(body) <= _INLINE_BYTES:
        return parse_invocation(body, user_id)
    limiter = _parsers.get(None)
    if limiter is None:
        _parsers.set(limiter := anyio.CapacityLimiter(_PARSERS))
    return await anyio.to_thread.run_sync(parse_invocation, body, user_id, limiter=limiter)


def _wants_json(scope: Scope) -> bool:
    """Whether the client accepts JSON and not an event stream, which is the default."""
    accepted = {
        part.partition(";")[0].strip().lower()
        for part in (header(scope, b"accept") or "").split(",")
    }
    return "application/json" in accepted and "text/event-stream" not in accepted


async def _answer_whole(run: Run, server: ServerConfig, receive: Receive, send: Send) -> None:
    """Answer once the run has ended, with all of its messages."""
    subscription = run.log.subscribe()
    messages: list[Any] = []
    is_over = False
    try:
        with anyio.CancelScope() as scope:
            async with ClientWatch(receive, on_left=scope.cancel):
                while not subscription.is_over:
                    await subscription.wait()
                    # Until nothing is left: what one call took counts as unsent until the next,
                    # and a run with too much unsent waits.
                    while events := subscription.take():
                        messages += [event.body for event in events if event.kind == "message"]
                is_over = True
    finally:
        subscription.close()
        if not is_over and server.on_disconnect == "cancel":
            run.cancel("disconnected")
    if not is_over:
        await answer_nobody(send)
    elif run.error is not None:
        error = as_http_error(run.error, run.id)
        raise HTTPError(error.code, run.describe_error(), error.headers)
    else:
        answer = {"session_id": run.key.session_id, "run_id": run.id, "messages": messages}
        await send_json(send, 200, encode_body(answer), [(b"x-run-id", run.id.encode())])
