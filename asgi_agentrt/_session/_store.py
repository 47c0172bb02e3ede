"""What keeps sessions: the interface of every backend."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

Document: TypeAlias = dict[str, Any]
Version: TypeAlias = str

# The version of a session that does not exist.
ABSENT: Final[Version] = ""

# Names of entries that start so are ours: no module that is saved may have one.
RESERVED_PREFIX: Final = "asgi_agentrt:"


class SessionKey(NamedTuple):
    """Whose conversation, and which one.

    Attributes:
        user_id: "" when nobody said whose it is.
        session_id: Unique for its user only.
    """

    user_id: str
    session_id: str


class Stored(NamedTuple):
    """What a store holds under a key.

    Attributes:
        document: Entries by name, JSON values; None when there is no such session. It belongs to
            the caller, who may change it.
        version: What `SessionStore.save` wants to see again. Opaque, never used twice for a key,
            not even after the session was deleted; `ABSENT` when there is none.
    """

    document: Document | None
    version: Version


class SessionStore(Protocol):
    """Keeps one document for each session, and says when it was changed in between.

    Called from many tasks of one event loop at once, also for one key; several stores, in several
    processes or machines, may share what lies below. Nothing in memory grows with the number of
    sessions ever seen, unless memory is where they are kept.

    Cancellation is let through. A cancelled `save` leaves the old document or the new one, never
    half; which of them, only `load` can tell. Nobody goes on writing after a `save` that was
    cancelled; after one that failed, a server may still carry out what it was sent.
    """

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return what is held; counts as a use of the session.

        Args:
            key: Any two texts.
            names: Entries that the caller is after. Of use to a backend only that cannot list
                what it holds; all others return every entry.

        Raises:
            SessionCorruptError: what lies there is no session, or another one.
            SessionError: it cannot be read.
        """
        ...

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace the document, if the session is still at `version`.

        Args:
            key: Any two texts.
            document: JSON values; not kept, and not to be changed while this runs.
            version: What `load` or `save` returned last; `ABSENT` to create the session.

        Returns:
            The new version.

        Raises:
            SessionConflictError: the session is at another version; nothing was written.
            SessionError: a value is not JSON, or it cannot be written; nothing was changed.
        """
        ...

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session at whatever version it is; there may be none.

        Raises:
            SessionError: it cannot be deleted.
        """
        ...

    async def aclose(self) -> None:
        """Give up what is held open; the store is of no use afterwards. May be called twice."""
        ...
