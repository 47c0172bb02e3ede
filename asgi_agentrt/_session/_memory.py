"""Sessions in memory: gone with the process, shared with nobody."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import NamedTuple
from uuid import uuid4

import anyio.lowlevel
import anyio.to_thread

from ..exceptions import SessionConflictError
from ._document import decode_document, encode_document
from ._store import ABSENT, Document, SessionKey, Stored, Version


class _Entry(NamedTuple):
    content: bytes
    version: Version
    used_at: float


class MemoryStore:
    """Keeps sessions as JSON, so that they come back as they would from any other backend.

    Args:
        ttl_s: Seconds since its last use after which a session is dropped; None keeps all.
        now: The clock that `ttl_s` is measured with.
    """

    def __init__(
        self, *, ttl_s: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._now = now
        # Least recently used first.
        self._entries: OrderedDict[SessionKey, _Entry] = OrderedDict()

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        await anyio.lowlevel.checkpoint()
        self._drop_expired()
        if (entry := self._entries.get(key)) is None:
            return Stored(None, ABSENT)
        self._put(key, entry.content, entry.version)
        document = await anyio.to_thread.run_sync(decode_document, entry.content, "a session")
        return Stored(document, entry.version)

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace a session; see `SessionStore`."""
        pieces = await anyio.to_thread.run_sync(encode_document, document)
        # No checkpoint from here on: the comparison and the change are one step.
        self._drop_expired()
        entry = self._entries.get(key)
        if version != (ABSENT if entry is None else entry.version):
            raise SessionConflictError("the session was saved by somebody else in between")
        new_version = uuid4().hex
        self._put(key, b"".join(pieces), new_version)
        return new_version

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session."""
        await anyio.lowlevel.checkpoint()
        self._entries.pop(key, None)

    async def aclose(self) -> None:
        """Forget all sessions."""
        self._entries.clear()

    def _put(self, key: SessionKey, content: bytes, version: Version) -> None:
        self._entries[key] = _Entry(content, version, self._now())
        self._entries.move_to_end(key)

    def _drop_expired(self) -> None:
        if self._ttl_s is None:
            return
        oldest = self._now() - self._ttl_s
        while self._entries:
            key = next(iter(self._entries))
            if self._entries[key].used_at > oldest:
                return
            del self._entries[key]
