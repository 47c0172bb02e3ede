"""A store, and whether it did what it was last asked to."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection
from typing import Literal, TypeVar

from ..exceptions import SessionConflictError, SessionCorruptError, SessionError
from ._document import NotJsonError
from ._line import Standing, Ticket
from ._lines import lines_of
from ._store import Document, SessionKey, SessionStore, Stored, Version

logger = logging.getLogger(__name__)

T = TypeVar("T")


class WatchedStore:
    """Passes calls on to a store and notes what comes of them; keeps lines if the store does not.

    Attributes:
        state: Whether the last call found the store working.
        reason: Why it is down; None while it is up.
    """

    def __init__(self, store: SessionStore) -> None:
        self.state: Literal["up", "down"] = "up"
        self.reason: str | None = None
        self._store = store
        self._lines = lines_of(store)

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        return await self._noted(self._store.load(key, names=names))

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace a session; see `SessionStore`."""
        return await self._noted(self._store.save(key, document, version))

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session; see `SessionStore`."""
        await self._noted(self._store.delete(key))

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
        return await self._noted(
            self._lines.enter(
                key, ticket, lease_s=lease_s, interrupt=interrupt, only_if_free=only_if_free
            )
        )

    async def renew(self, key: SessionKey, ticket: Ticket, /, *, lease_s: float) -> Standing:
        """Extend a lease; see `SessionLines`."""
        return await self._noted(self._lines.renew(key, ticket, lease_s=lease_s))

    async def leave(self, key: SessionKey, ticket: Ticket, /) -> None:
        """Leave a line; see `SessionLines`."""
        await self._noted(self._lines.leave(key, ticket))

    async def save_in_turn(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket, /
    ) -> Version:
        """Replace a session; see `SessionLines`."""
        return await self._noted(self._lines.save_in_turn(key, document, version, ticket))

    async def _noted(self, call: Awaitable[T]) -> T:
        try:
            result = await call
        except (SessionConflictError, SessionCorruptError, NotJsonError):
            raise  # says something about one session, nothing about the store
        except SessionError as error:
            self._note(error)
            raise
        self._note(None)
        return result

    def _note(self, error: SessionError | None) -> None:
        state: Literal["up", "down"] = "up" if error is None else "down"
        if state != self.state:
            log = logger.info if error is None else logger.warning
            log("the session store is %s%s", state, "" if error is None else f": {error}")
        self.state = state
        self.reason = None if error is None else str(error)
