"""Sessions in memory: gone with the process, shared with nobody."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final, NamedTuple
from uuid import uuid4

import anyio.lowlevel
import anyio.to_thread

from ..exceptions import SessionConflictError
from ._document import decode_document, encode_document
from ._line import Entry, Standing, Ticket
from ._lines import LineTable
from ._store import ABSENT, Document, SessionKey, Stored, Version

# How many expired sessions one call drops. More than it adds, so that they do not pile up.
_SWEEP: Final = 16


class _Entry(NamedTuple):
    content: bytes
    version: Version
    used_at: float


class MemoryStore:
    """Keeps sessions as JSON, so that they come back as they would from any other backend.

    Args:
        ttl_s: Seconds since its last use after which a session is dropped; None keeps all.
        now: The clock that `ttl_s` and leases are measured with.
    """

    def __init__(
        self, *, ttl_s: float | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._now = now
        # Least recently used first.
        self._entries: OrderedDict[SessionKey, _Entry] = OrderedDict()
        self._lines = LineTable(now)

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        await anyio.lowlevel.checkpoint()
        if (entry := self._get(key)) is None:
            return Stored(None, ABSENT)
        self._put(key, entry.content, entry.version)
        document = await anyio.to_thread.run_sync(decode_document, entry.content, "a session")
        return Stored(document, entry.version)

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace a session; see `SessionStore`."""
        return await self._save(key, document, version, None)

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session."""
        await anyio.lowlevel.checkpoint()
        self._entries.pop(key, None)

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
        return self._lines.enter(key, ticket, Entry(lease_s, interrupt, only_if_free))

    async def renew(self, key: SessionKey, ticket: Ticket, /, *, lease_s: float) -> Standing:
        """Extend a lease; see `SessionLines`."""
        return self._lines.renew(key, ticket, lease_s)

    async def leave(self, key: SessionKey, ticket: Ticket, /) -> None:
        """Leave a line; see `SessionLines`."""
        self._lines.leave(key, ticket)

    async def save_in_turn(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket, /
    ) -> Version:
        """Replace a session; see `SessionLines`."""
        return await self._save(key, document, version, ticket)

    async def aclose(self) -> None:
        """Forget all sessions."""
        self._entries.clear()

    async def _save(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket | None
    ) -> Version:
        pieces = await anyio.to_thread.run_sync(encode_document, document)
        # No checkpoint from here on: the comparison and the change are one step.
        if ticket is not None:
            self._lines.check_turn(key, ticket)
        entry = self._get(key)
        if version != (ABSENT if entry is None else entry.version):
            raise SessionConflictError("the session was saved by somebody else in between")
        new_version = uuid4().hex
        self._put(key, b"".join(pieces), new_version)
        return new_version

    def _get(self, key: SessionKey) -> _Entry | None:
        self._sweep()
        entry = self._entries.get(key)
        if entry is not None and self._is_expired(entry):
            del self._entries[key]
            return None
        return entry

    def _put(self, key: SessionKey, content: bytes, version: Version) -> None:
        self._entries[key] = _Entry(content, version, self._now())
        self._entries.move_to_end(key)

    def _is_expired(self, entry: _Entry) -> bool:
        return self._ttl_s is not None and entry.used_at <= self._now() - self._ttl_s

    def _sweep(self) -> None:
        for _ in range(min(_SWEEP, len(self._entries))):
            oldest, entry = next(iter(self._entries.items()))
            if not self._is_expired(entry):
                return
            del self._entries[oldest]
