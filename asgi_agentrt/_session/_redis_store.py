"""Sessions in Redis, for many processes on many machines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final, TypeVar
from uuid import uuid4

import anyio
import anyio.to_thread

from .._concurrency import on_asyncio
from .._config import SessionConfig
from .._importing import require
from ..exceptions import SessionConflictError, SessionCorruptError, SessionError, StartupError
from ._document import decode_document, encode_document
from ._key import encode_key
from ._store import ABSENT, Document, SessionKey, Stored, Version

T = TypeVar("T")

PREFIX: Final = "asgi_agentrt"

_CONNECT_TIMEOUT_S: Final = 5.0
_ANSWER_TIMEOUT_S: Final = 10.0
# Decoding so much takes a millisecond at most: less than a thread is worth.
_INLINE_BYTES: Final = 65536

# A client that lost the answer sends the script again: the version it wrote itself is no conflict.
_SAVE = """
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

    All keys of a session have one hash tag, so that a cluster keeps them on one node.

    Args:
        client: A `redis.asyncio.Redis`; closed with the store.
        ttl_s: Seconds since its last use after which Redis drops a session; None keeps all.
    """

    def __init__(self, client: Any, *, ttl_s: float | None = None) -> None:
        self._client = client
        self._ttl_ms = "" if ttl_s is None else str(max(1, round(ttl_s * 1000)))
        self._save = client.register_script(_SAVE)
        self._load = client.register_script(_LOAD)

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        name = _redis_key(key)
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
        content = b"".join(await anyio.to_thread.run_sync(encode_document, document))
        new_version = uuid4().hex
        args = [version, new_version, content, self._ttl_ms]
        # Not cut short: a command that is on its way would be carried out later.
        with anyio.CancelScope(shield=True):
            if not await _ask("save", lambda: self._save(keys=[_redis_key(key)], args=args)):
                raise SessionConflictError("the session was saved by somebody else in between")
        return new_version

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session."""
        await _ask("delete", lambda: self._client.delete(_redis_key(key)))

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
    redis = require("redis.asyncio", extra="redis", needed_for="the redis session backend")
    try:
        client = redis.from_url(
            config.url,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_ANSWER_TIMEOUT_S,
        )
    except ValueError:
        # Without the cause: its text holds the URL.
        raise StartupError("session", "session.url is no Redis URL") from None
    try:
        await _ask("reach", client.ping)
    except SessionError as error:
        await client.aclose()
        raise StartupError("session", str(error)) from error.__cause__
    return RedisStore(client, ttl_s=config.ttl)


def _redis_key(key: SessionKey) -> str:
    return f"{PREFIX}:{{{encode_key(key)}}}:session"


async def _ask(verb: str, command: Callable[[], Awaitable[T]]) -> T:
    redis = require("redis", extra="redis", needed_for="the redis session backend")
    try:
        return await command()
    except (redis.RedisError, OSError) as error:
        what = "Redis" if verb == "reach" else "the session in Redis"
        raise SessionError(f"cannot {verb} {what}: {type(error).__name__}") from error
