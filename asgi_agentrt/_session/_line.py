"""The line of a session: whose turn it is, and for how long. Pure: no clock, no store.

Each operation takes a line and the time, and returns the line as it is afterwards. The Redis
backend has the same operations in Lua; a test holds the two against each other.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

Ticket: TypeAlias = str

# So long after its lease a ticket is gone even if nobody came by to see that it had run out.
FORGET_AFTER_S: Final = 600.0


class Standing(NamedTuple):
    """Where a ticket stands.

    Attributes:
        position: How many are ahead; 0 when it has the turn, None when it is not in the line,
            because it never entered, left, or ran out and was dropped.
        head: The ticket that has the turn; None when the line is empty.
        is_interrupted: Whether a later ticket asked this one to end.
    """

    position: int | None
    head: Ticket | None
    is_interrupted: bool


class Place(NamedTuple):
    """One ticket in a line; `expires_at` is in seconds of whatever clock the line is kept by."""

    ticket: Ticket
    expires_at: float
    is_interrupted: bool


Line: TypeAlias = tuple[Place, ...]


class Entry(NamedTuple):
    """How a ticket enters.

    Attributes:
        lease_s: Seconds from now after which others may drop it, unless it is renewed.
        interrupt: Mark all that are ahead as interrupted.
        only_if_free: Join only if nobody is ahead.
    """

    lease_s: float
    interrupt: bool = False
    only_if_free: bool = False


def standing_of(line: Line, ticket: Ticket) -> Standing:
    """Return where a ticket stands."""
    head = line[0].ticket if line else None
    for position, place in enumerate(line):
        if place.ticket == ticket:
            return Standing(position, head, place.is_interrupted)
    return Standing(None, head, False)  # noqa: FBT003  a named tuple


def enter(line: Line, ticket: Ticket, entry: Entry, now: float) -> tuple[Line, Standing]:
    """Join the end of the line, or renew the ticket if it is in it.

    When it may not join, the line comes back as it was.
    """
    present = _without_expired(line, ticket, now)
    ahead = present
    if any(place.ticket == ticket for place in present):
        ahead = present[: [place.ticket for place in present].index(ticket)]
        present = _renewed(present, ticket, now + entry.lease_s)
    elif entry.only_if_free and present:
        return line, standing_of(present, ticket)
    else:
        present = (*present, Place(ticket, now + entry.lease_s, is_interrupted=False))
    if entry.interrupt:
        marked = tuple(place._replace(is_interrupted=True) for place in ahead)
        present = marked + present[len(ahead) :]
    return present, standing_of(present, ticket)


def renew(line: Line, ticket: Ticket, lease_s: float, now: float) -> tuple[Line, Standing]:
    """Extend a ticket's lease and drop those ahead whose leases have run out.

    One that has run out itself keeps its place if nobody has dropped it.
    """
    present = _without_forgotten(line, now)
    position = standing_of(present, ticket).position
    if position is None:
        return line, standing_of(present, ticket)
    ahead = tuple(place for place in present[:position] if place.expires_at > now)
    after = _renewed(ahead + present[position:], ticket, now + lease_s)
    return after, standing_of(after, ticket)


def leave(line: Line, ticket: Ticket, now: float) -> Line:
    """Take a ticket out of the line; it may not be in it."""
    return tuple(place for place in _without_forgotten(line, now) if place.ticket != ticket)


def may_save(line: Line, ticket: Ticket) -> bool:
    """Whether nobody else has the turn.

    A line that was lost altogether, with whatever kept it, is no reason to lose a state, too.
    """
    return not line or line[0].ticket == ticket


def _renewed(line: Line, ticket: Ticket, expires_at: float) -> Line:
    return tuple(
        place._replace(expires_at=expires_at) if place.ticket == ticket else place for place in line
    )


def _without_expired(line: Line, ticket: Ticket, now: float) -> Line:
    return tuple(
        place
        for place in _without_forgotten(line, now)
        if place.expires_at > now or place.ticket == ticket
    )


def _without_forgotten(line: Line, now: float) -> Line:
    return tuple(place for place in line if place.expires_at > now - FORGET_AFTER_S)
