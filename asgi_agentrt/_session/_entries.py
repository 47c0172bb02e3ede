"""The entries of one session, read and written by name: by one call at a time, or by many."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from typing import Any, Final, Protocol

import anyio

from ..exceptions import SessionConflictError
from ._document import is_same_json
from ._line import Ticket
from ._store import ABSENT, Document, SessionKey, Stored, Version
from ._usage import with_usage
from ._watched_store import WatchedStore

_ATTEMPTS: Final = 20
_MAX_PAUSE_S: Final = 0.05


class Entries(Protocol):
    """A session's entries. Many tasks may call it at once."""

    async def read(self, names: Collection[str]) -> Document | None:
        """Return the document with at least these entries, as far as they exist; not to change.

        Raises:
            SessionError: it could not be read.
        """
        ...

    async def write(self, entries: Document, *, absent: dict[str, Any] | None = None) -> None:
        """Save entries and leave those of other names as they are.

        Nothing is written when nothing changes; an entry that is not there counts as `absent`.

        Args:
            entries: JSON values that nobody changes any more.
            absent: What equals an entry that is not there.

        Raises:
            SessionConflictError: somebody else saved, and this one must not win.
            SessionError: a value is not JSON, or it could not be written.
        """
        ...


class SharedEntries:
    """For callers beside whom others may be saving: merges by name, the last one wins.

    Args:
        store: Where they are kept.
        key: Whose.
        turns: What the first change adds to the session's turns.
    """

    def __init__(self, store: WatchedStore, key: SessionKey, *, turns: int) -> None:
        self._store = store
        self._key = key
        self._turns = turns

    async def read(self, names: Collection[str]) -> Document | None:
        """Return what is held now; see `Entries`."""
        return (await self._store.load(self._key, names=names)).document

    async def write(self, entries: Document, *, absent: dict[str, Any] | None = None) -> None:
        """Save beside others; see `Entries`."""
        for attempt in range(1, _ATTEMPTS + 1):
            document, version = await self._store.load(self._key, names=entries)
            held = document or {}
            if _is_unchanged(held, entries, absent):
                return
            new = with_usage({**held, **entries}, turns=self._turns, now=time.time())
            try:
                await self._store.save(self._key, new, version)
            except SessionConflictError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                self._turns = 0
                return
            pause_s = min(0.002 * 2**attempt, _MAX_PAUSE_S)
            await anyio.sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads the contenders


class ChainedEntries:
    """For the call that has the session's turn: each save follows on what this call saw.

    What it knows, by having read or written it, must not have been changed by anybody else since;
    entries of other names may have been. And it saves nothing when another ticket has the turn:
    so a call that lost its lease neither overwrites what came after it nor disturbs who is at it.

    Args:
        store: Where they are kept.
        key: Whose.
        ticket: The call's place in the session's line.
    """

    def __init__(self, store: WatchedStore, key: SessionKey, ticket: Ticket) -> None:
        self._store = store
        self._key = key
        self._ticket = ticket
        self._lock = anyio.Lock()
        self._known: set[str] = set()
        self._document: Document | None = None
        self._version: Version | None = None
        # What saves that did not come to their ends may have written, or may yet: a server that
        # was held up carries out what it was sent before. Only one can, all are for one version.
        self._unsure: list[Document] = []
        self._turns = 1

    async def read(self, names: Collection[str]) -> Document | None:
        """Return what this call saw or saved last; see `Entries`."""
        async with self._lock:
            await self._learn(names)
            return self._document

    async def write(self, entries: Document, *, absent: dict[str, Any] | None = None) -> None:
        """Save what follows on what this call saw; see `Entries`."""
        async with self._lock:
            await self._learn(entries)
            for attempt in range(1, _ATTEMPTS + 1):
                held = self._document or {}
                if _is_unchanged(held, entries, absent):
                    return
                new = with_usage({**held, **entries}, turns=self._turns, now=time.time())
                before = self._version
                try:
                    await self._save(new)
                except SessionConflictError:
                    await self._reload()
                    if attempt == _ATTEMPTS or self._version == before:
                        raise  # it is not the version: the turn is lost
                else:
                    return

    async def _save(self, document: Document) -> None:
        version = ABSENT if self._version is None else self._version
        try:
            version = await self._store.save_in_turn(self._key, document, version, self._ticket)
        except SessionConflictError:
            raise
        except BaseException:
            self._unsure.append(document)
            raise
        self._document, self._version = document, version
        self._turns = 0
        self._unsure.clear()

    async def _learn(self, names: Collection[str]) -> None:
        new = set(names) - self._known
        known = self._known | new
        # Some stores return only what they are asked for.
        is_seen = self._version is not None and new <= (self._document or {}).keys()
        if not is_seen or self._unsure:
            await self._reload(new)
        self._known = known

    async def _reload(self, new: Collection[str] = ()) -> None:
        stored = await self._store.load(self._key, names=self._known.union(new))
        self._check(stored)
        if stored.version != self._version:
            self._unsure.clear()
        self._document, self._version = stored

    def _check(self, stored: Stored) -> None:
        """Raise when the session is not any more what this call knows, or may have made it."""
        if self._version is None or stored.version == self._version:
            return
        if any(_agree(document, stored.document, self._known) for document in self._unsure):
            self._turns = 0
            return
        if not _agree(self._document, stored.document, self._known):
            raise SessionConflictError("the session was saved by somebody else in between")


def _is_unchanged(held: Document, entries: Document, absent: dict[str, Any] | None) -> bool:
    return all(is_same_json(held.get(name, absent), new) for name, new in entries.items())


def _agree(one: Document | None, other: Document | None, names: Collection[str]) -> bool:
    if not other:
        return not one  # it was deleted, if there was one
    return all(is_same_json((one or {}).get(name), other.get(name)) for name in names)
