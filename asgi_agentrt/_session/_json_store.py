"""Sessions as files: the backend that needs nothing but a folder."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from ..exceptions import SessionError, StartupError
from ._line import Entry, Standing, Ticket
from ._session_files import SessionFiles
from ._store import Document, SessionKey, Stored, Version

T = TypeVar("T")

# Of our own, so that a slow disk takes no worker threads from the host.
_THREADS = 16


class JsonStore:
    """Keeps each session in a file; all work is done in worker threads.

    Threads and processes on one machine may share the folder. A call that is cancelled while it
    writes ends when the file is written.

    Args:
        folder: Created when missing, for its owner only.
        ttl_s: Seconds since its last use after which a session is dropped; None keeps all.
    """

    def __init__(self, folder: Path, *, ttl_s: float | None = None) -> None:
        self._folder = folder
        self._files = SessionFiles(
            folder, ttl_s=ttl_s, check_cancelled=anyio.from_thread.check_cancelled
        )
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._is_closed = False

    async def open(self) -> None:
        """Make the folder and see that it can be written.

        Raises:
            StartupError: it cannot.
        """
        try:
            await self._run(self._files.open)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StartupError("session", f"cannot write to {self._folder}: {reason}") from error

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        return await self._run(lambda: self._files.load(key))

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace a session; see `SessionStore`."""
        return await self._run(lambda: self._files.save(key, document, version))

    async def delete(self, key: SessionKey, /) -> None:
        """Forget a session; see `SessionStore`."""
        await self._run(lambda: self._files.delete(key))

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
        entry = Entry(lease_s, interrupt, only_if_free)
        return await self._run(lambda: self._files.enter(key, ticket, entry))

    async def renew(self, key: SessionKey, ticket: Ticket, /, *, lease_s: float) -> Standing:
        """Extend a lease; see `SessionLines`."""
        return await self._run(lambda: self._files.renew(key, ticket, lease_s))

    async def leave(self, key: SessionKey, ticket: Ticket, /) -> None:
        """Leave a line; see `SessionLines`."""
        await self._run(lambda: self._files.leave(key, ticket))

    async def save_in_turn(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket, /
    ) -> Version:
        """Replace a session; see `SessionLines`."""
        return await self._run(lambda: self._files.save(key, document, version, ticket))

    async def aclose(self) -> None:
        """Refuse further calls; those that run end by themselves."""
        self._is_closed = True

    async def _run(self, call: Callable[[], T]) -> T:
        if self._is_closed:
            raise SessionError("the session store is closed")
        return await anyio.to_thread.run_sync(call, limiter=self._threads)
