"""How much a session was used: an entry of our own beside those of the app."""

from __future__ import annotations

from typing import Final, NamedTuple

from ._document import encode_document, is_object
from ._store import RESERVED_PREFIX, Document

USAGE: Final = f"{RESERVED_PREFIX}usage"


class SessionInfo(NamedTuple):
    """What is known about a session without looking into its states.

    Attributes:
        state_bytes: Length of all its states as JSON in UTF-8.
        turns: How many calls have changed it; 0 for one that only others saved.
        last_used: When it was last changed, in seconds since 1970; None if that was not by us.
    """

    state_bytes: int
    turns: int
    last_used: float | None


def with_usage(document: Document, *, turns: int, now: float) -> Document:
    """Return the document with so many turns more, last used now."""
    return {**document, USAGE: {"turns": _turns(document) + turns, "last_used": round(now, 3)}}


def describe_document(document: Document) -> SessionInfo:
    """Return what is known about a session.

    Raises:
        SessionError: the document is not JSON.
    """
    states = {name: state for name, state in document.items() if name != USAGE}
    usage: object = document.get(USAGE)
    last_used: object = usage.get("last_used") if is_object(usage) else None
    return SessionInfo(
        sum(map(len, encode_document(states))),
        _turns(document),
        float(last_used) if isinstance(last_used, int | float) else None,
    )


def _turns(document: Document) -> int:
    usage: object = document.get(USAGE)
    turns: object = usage.get("turns") if is_object(usage) else None
    return turns if isinstance(turns, int) else 0
