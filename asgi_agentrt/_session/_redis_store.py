"""Sessions in Redis, for many processes on many machines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Final, Literal, TypeVar
from uuid import uuid4

import anyio
import anyio.to_thread

from .._concurrency import on_asyncio
from .._config import SessionConfig
from .._importing import require
from ..exceptions import SessionConflictError, SessionCorruptError, SessionError, StartupError
from ._document import decode_document, encode_document
from ._key import encode_key
from ._line import Entry, Standing, Ticket
from ._lines import LOST_TURN
from ._redis_lines import MAY_SAVE, LineScripts
from ._store import ABSENT, Document, SessionKey, Stored, Version

T = TypeVar("T")

PREFIX: Final = "asgi_agentrt"

_CONNECT_TIMEOUT_S: Final = 5.0
_ANSWER_TIMEOUT_S: Final = 5.0
_RETRIES: Final = 1
_RETRY_PAUSE_S: Final = 0.1
# More calls at once wait for a connection, each for as long as for an answer.
_CONNECTIONS: Final = 64
# Decoding so much takes a millisecond at most: less than a thread is worth.
_INLINE_BYTES: Final = 65536

# A client that lost the answer sends the script again: the version it wrote itself is no conflict.
# KEYS: session, and with a ticket the line; ARGV: version, new version, document, life, ticket.
_SAVE = """
if KEYS[2] and not may_save(KEYS[2], ARGV[5]) then return -1 end
local current = redis.call('HGET', KEYS[1], 'version') or ''
if current ~= ARGV[1] and current ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'document', ARGV[3])
if ARGV[4] == '' then redis.call('PERSIST', KEYS[1])
else redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return 1
"""
_LOAD = """
if ARGV[1] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return redis.call('HMGET', KEYS[1], 'version', 'document')
"""


class RedisStore:
    """Keeps each session in a Redis hash of two fields, `version` and `document`.

    A line is a key of its own, which is gone when nobody stands in it. An eviction policy of Redis
    that drops keys which have a time to live would drop lines, and states with a `ttl`.

    All keys of a session have one hash tag, so that a cluster keeps them on one node.

    Args:
        client: A `redis.asyncio.Redis`; closed with the store.
        ttl_s: Seconds since its last use after which Redis drops a session; None keeps all.
    """

    def __init__(self, client: Any, *, ttl_s: float | None = None) -> None:
        self._client = client
        self._ttl_ms = "" if ttl_s is None else str(max(1, round(ttl_s * 1000)))
        self._lines = LineScripts(client)
        self._save = client.register_script(MAY_SAVE + _SAVE)
        self._load = client.register_script(_LOAD)

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        name = _redis_key(key, "session")
        version, content = await _ask("load", lambda: self._load(keys=[name], args=[self._ttl_ms]))
        if version is None:
            return Stored(None, ABSENT)
        source = f"the Redis key {name}"
        if content is None:
            raise SessionCorruptError(f"{source} is no session: it has no document")
        if len(content) <= _INLINE_BYTES:
            document = decode_document(content, source)
        else:
            document = await anyio.to_thread.run_sync(decode_document, content, source)
        return Stored(document, version.decode())

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace a session; see `SessionStore`."""
        return await self._replace(key, document, version, None)

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session."""
        await _ask("delete", lambda: self._client.delete(_redis_key(key, "session")))

    async def enter(
        self,
        key: SessionKey,
        ticket: Ticket,
        /,
        *,
        lease_s: float,
        interrupt: bool = False,
        only_if_free: bool = False,
    ) -> Standing:
        """Join a line; see `SessionLines`."""
        name, entry = _redis_key(key, "line"), Entry(lease_s, interrupt, only_if_free)
        # Not cut short, as in `_replace`: it would stand in the line after it has left.
        return await _to_its_end(
            _ask("enter the line of", lambda: self._lines.enter(name, ticket, entry))
        )

    async def renew(self, key: SessionKey, ticket: Ticket, /, *, lease_s: float) -> Standing:
        """Extend a lease; see `SessionLines`."""
        name = _redis_key(key, "line")
        return await _ask("stay in the line of", lambda: self._lines.renew(name, ticket, lease_s))

    async def leave(self, key: SessionKey, ticket: Ticket, /) -> None:
        """Leave a line; see `SessionLines`."""
        name = _redis_key(key, "line")
        await _ask("leave the line of", lambda: self._lines.leave(name, ticket))

    async def save_in_turn(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket, /
    ) -> Version:
        """Replace a session; see `SessionLines`."""
        return await self._replace(key, document, version, ticket)

    async def _replace(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket | None
    ) -> Version:
        content = b"".join(await anyio.to_thread.run_sync(encode_document, document))
        new_version = uuid4().hex
        keys, args = [_redis_key(key, "session")], [version, new_version, content, self._ttl_ms]
        if ticket is not None:
            keys.append(_redis_key(key, "line"))
            args.append(ticket)
        # Not cut short: a command that is on its way would be carried out later.
        saved = await _to_its_end(_ask("save", lambda: self._save(keys=keys, args=args)))
        if saved != 1:
            conflict = "the session was saved by somebody else in between"
            raise SessionConflictError(LOST_TURN if saved < 0 else conflict)
        return new_version

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def open_redis(config: SessionConfig) -> RedisStore:
    """Connect to Redis and see that it answers.

    Raises:
        MissingExtraError: redis-py is not installed.
        StartupError: there is no URL, it is not one, or Redis does not answer.
    """
    if config.url is None:
        raise StartupError("session", "the redis backend needs session.url")
    if not on_asyncio():
        raise StartupError("session", "the redis backend needs asyncio, this is trio")
    try:
        client = _connect(config.url)
    except ValueError:
        # Without the cause: its text holds the URL.
        raise StartupError("session", "session.url is no Redis URL") from None
    try:
        await _ask("reach", client.ping)
    except SessionError as error:
        await client.aclose()
        raise StartupError("session", str(error)) from error.__cause__
    return RedisStore(client, ttl_s=config.ttl)


def _connect(url: str) -> Any:
    """Return a client; options in the URL's query have precedence over these."""
    redis = require("redis.asyncio", extra="redis", needed_for="the redis session backend")
    errors = require("redis.exceptions", extra="redis", needed_for="the redis session backend")
    backoff = require("redis.backoff", extra="redis", needed_for="the redis session backend")
    retry = require("redis.asyncio.retry", extra="redis", needed_for="the redis session backend")
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=_CONNECTIONS,
        timeout=_ANSWER_TIMEOUT_S,
        socket_connect_timeout=_CONNECT_TIMEOUT_S,
        socket_timeout=_ANSWER_TIMEOUT_S,
        # A connection that broke is replaced; who has waited his time for an answer has waited.
        retry=retry.Retry(
            backoff.ConstantBackoff(_RETRY_PAUSE_S), _RETRIES, (errors.ConnectionError,)
        ),
    )
    return redis.Redis.from_pool(pool)


def _redis_key(key: SessionKey, kind: Literal["session", "line"]) -> str:
    return f"{PREFIX}:{{{encode_key(key)}}}:{kind}"


async def _to_its_end(step: Coroutine[Any, Any, T]) -> T:
    results: list[T] = []
    with anyio.CancelScope(shield=True):
        results.append(await step)
    return results[0]


async def _ask(verb: str, command: Callable[[], Awaitable[T]]) -> T:
    redis = require("redis", extra="redis", needed_for="the redis session backend")
    try:
        return await command()
    except (redis.RedisError, OSError) as error:
        what = "Redis" if verb == "reach" else "the session in Redis"
        raise SessionError(f"cannot {verb} {what}: {type(error).__name__}") from error
