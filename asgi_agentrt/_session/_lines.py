"""Lines with leases: the interface of stores that keep them, and one for those that do not."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ..exceptions import SessionConflictError
from ._line import FORGET_AFTER_S, Entry, Line, Standing, Ticket, enter, leave, may_save, renew
from ._store import Document, SessionKey, SessionStore, Version

LOST_TURN = "another call has the session's turn"
# How many lines of others one call looks at, to see whether everybody in them is long gone.
_SWEEP = 2


@runtime_checkable
class SessionLines(Protocol):
    """Keeps an ordered line of tickets for each session; who is at the head has the turn.

    Optional for a store: without these methods, lines are kept in the process that uses it.

    Every ticket is a lease. When it runs out, others who enter or renew drop it, and it never
    gets its place back; if nobody else came by, it can still be renewed for `FORGET_AFTER_S`
    seconds, so that a process that was held up for a while keeps the turn that nobody wanted.

    Operations on one line are atomic, whatever process or machine they come from. A cancelled
    call has happened or not; it does not happen later.
    """

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
        """Join the end of a session's line; a ticket that is in it already is renewed.

        Args:
            key: Any two texts.
            ticket: Unique among all that ever enter this line.
            lease_s: Seconds after which others may drop it.
            interrupt: Mark all earlier tickets as interrupted.
            only_if_free: Join only when nobody whose lease holds is in the line; otherwise
                nothing is written, the position is None and `head` says who is.

        Raises:
            SessionError: the line cannot be read or written.
        """
        ...

    async def renew(self, key: SessionKey, ticket: Ticket, /, *, lease_s: float) -> Standing:
        """Extend a lease, drop those ahead that have run out, and see where the ticket stands.

        Raises:
            SessionError: the line cannot be read or written.
        """
        ...

    async def leave(self, key: SessionKey, ticket: Ticket, /) -> None:
        """Take a ticket out of its line; it may not be in it.

        Raises:
            SessionError: the line cannot be read or written.
        """
        ...

    async def save_in_turn(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket, /
    ) -> Version:
        """Do as `SessionStore.save` does, unless another ticket is at the head of the line.

        Raises:
            SessionConflictError: the session is at another version, or it is another one's turn;
                nothing was written.
            SessionError: a value is not JSON, or it cannot be written; nothing was changed.
        """
        ...


class LineTable:
    """Lines in memory; a session without a line takes none of it.

    Args:
        now: The clock of the leases, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        # Least recently used first.
        self._lines: OrderedDict[SessionKey, Line] = OrderedDict()

    def __len__(self) -> int:
        return len(self._lines)

    def enter(self, key: SessionKey, ticket: Ticket, entry: Entry) -> Standing:
        """Join a line."""
        line, standing = enter(self._lines.get(key, ()), ticket, entry, self._now())
        self._put(key, line)
        return standing

    def renew(self, key: SessionKey, ticket: Ticket, lease_s: float) -> Standing:
        """Extend a lease."""
        line, standing = renew(self._lines.get(key, ()), ticket, lease_s, self._now())
        self._put(key, line)
        return standing

    def leave(self, key: SessionKey, ticket: Ticket) -> None:
        """Leave a line."""
        self._put(key, leave(self._lines.get(key, ()), ticket, self._now()))

    def check_turn(self, key: SessionKey, ticket: Ticket) -> None:
        """Raise SessionConflictError when somebody else has the turn."""
        if not may_save(self._lines.get(key, ()), ticket):
            raise SessionConflictError(LOST_TURN)

    def _put(self, key: SessionKey, line: Line) -> None:
        if line:
            self._lines[key] = line
            self._lines.move_to_end(key)
        else:
            self._lines.pop(key, None)
        self._sweep()

    def _sweep(self) -> None:
        limit = self._now() - FORGET_AFTER_S
        for _ in range(min(_SWEEP, len(self._lines))):
            oldest, line = next(iter(self._lines.items()))
            if max(place.expires_at for place in line) > limit:
                return
            del self._lines[oldest]


class LinesInProcess:
    """Lines for a store that keeps none: they hold among the users of this object only."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._table = LineTable()

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
        return self._table.enter(key, ticket, Entry(lease_s, interrupt, only_if_free))

    async def renew(self, key: SessionKey, ticket: Ticket, /, *, lease_s: float) -> Standing:
        """Extend a lease; see `SessionLines`."""
        return self._table.renew(key, ticket, lease_s)

    async def leave(self, key: SessionKey, ticket: Ticket, /) -> None:
        """Leave a line; see `SessionLines`."""
        self._table.leave(key, ticket)

    async def save_in_turn(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket, /
    ) -> Version:
        """Replace a session; see `SessionLines`."""
        self._table.check_turn(key, ticket)
        return await self._store.save(key, document, version)


def lines_of(store: SessionStore) -> SessionLines:
    """Return the lines that a store keeps, or lines in this process if it keeps none."""
    return store if isinstance(store, SessionLines) else LinesInProcess(store)
