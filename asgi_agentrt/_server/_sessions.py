"""GET and DELETE /sessions/{id}: what is known about a session, and forgetting it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from urllib.parse import parse_qs

from .._runtime import Runtime
from .._session import SessionKey, make_key
from .._types import Scope, Send
from ..exceptions import SessionError
from ._access import Identity, check_api_key, identify
from ._answers import HTTPError, encode_body, send_empty, send_json

logger = logging.getLogger(__name__)

PREFIX = "/sessions/"


async def handle_session(
    runtime: Runtime, identity: Identity | None, session_id: str, scope: Scope, send: Send
) -> None:
    """Describe or delete a session of the user who asks.

    Args:
        runtime: An open one.
        identity: Says who asks; without it, the query's `user_id` is believed.
        session_id: From the path.
        scope: The request.
        send: Where the answer goes.

    Raises:
        HTTPError: the routes are off, or there is no such session of this user's.
    """
    if not runtime.config.session.routes:
        raise HTTPError("NOT_FOUND", "the session routes are off (session.routes)")
    check_api_key(scope, runtime.config.server)
    user_id = await identify(identity, scope)
    try:
        key = make_key(session_id, _asked_user(scope) if user_id is None else user_id)
    except ValueError as error:
        raise HTTPError("INVALID_REQUEST", str(error)) from error
    try:
        await _answer(runtime, key, scope, send)
    except SessionError as error:
        logger.error("a session could not be read or deleted: %s", error)
        raise HTTPError("INTERNAL", "the session store is not available") from error


async def _answer(runtime: Runtime, key: SessionKey, scope: Scope, send: Send) -> None:
    info = await runtime.session.describe(key)
    if info is None:
        raise _not_found()
    if scope["method"] == "DELETE":
        await runtime.session.delete(key)
        await send_empty(send, 204)
        return
    last_used = None
    if info.last_used is not None:
        moment = datetime.fromtimestamp(info.last_used, UTC)
        last_used = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    body = {
        "session_id": key.session_id,
        "turns": info.turns,
        "state_bytes": info.state_bytes,
        "last_used": last_used,
    }
    await send_json(send, 200, encode_body(body), is_head=scope["method"] == "HEAD")


def _asked_user(scope: Scope) -> str:
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("user_id", [""])[-1]


def _not_found() -> HTTPError:
    return HTTPError("NOT_FOUND", "there is no such session")
