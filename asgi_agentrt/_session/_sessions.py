"""What apps see as `runtime.session`: states by name, kept for each session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import anyio.to_thread

from ..exceptions import SessionError
from ._entries import ChainedEntries, Entries, SharedEntries
from ._hold import SessionHold, current_hold
from ._key import make_key
from ._line import Ticket
from ._lines import SessionLines
from ._state import dump_state, load_state
from ._store import RESERVED_PREFIX, Document, SessionKey, SessionStore
from ._usage import SessionInfo, describe_document
from ._watched_store import WatchedStore


class Sessions:
    """Saves and loads states by name; a save leaves the entries of other names as they are.

    Many tasks may call it at once, for one session too: what they save under different names is
    all kept, and for one name the last one wins. Within a run that has its session's turn, what
    the run saves there follows on what it saw, or is refused: see `hold`.

    Args:
        store: Where the sessions are kept; the caller closes it.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = WatchedStore(store)

    @property
    def state(self) -> Literal["up", "down"]:
        """Whether the store did what it was last asked to."""
        return self._store.state

    @property
    def reason(self) -> str | None:
        """Why the store is down; None while it is up."""
        return self._store.reason

    @property
    def lines(self) -> SessionLines:
        """The lines of the sessions: the store's, or this object's own if the store has none."""
        return self._store

    def hold(self, key: SessionKey, ticket: Ticket | None) -> SessionHold:
        """Return a run's access to its session; nothing is read yet.

        Args:
            key: Which session.
            ticket: The run's place in the session's line. What the run saves then has to follow on
                what it saw, and is refused with SessionConflictError when another ticket has the
                turn, or when somebody else changed an entry that the run has read or written.
                None for a run that shares the session with others: it merges as they do.
        """
        if ticket is None:
            return SessionHold(self, key, SharedEntries(self._store, key, turns=1))
        return SessionHold(self, key, ChainedEntries(self._store, key, ticket))

    async def save_session_state(
        self, session_id: str, user_id: str = "", **modules: object
    ) -> None:
        """Save the states of objects, each under the name that it is given by.

        Args:
            session_id: 1 to 256 characters, no control characters.
            user_id: Whose session it is; up to 256 such characters.
            **modules: Dicts, AgentScope 1.x `StateModule`s, pydantic models, AgentScope 2.x agents.

        Raises:
            ValueError: an id or a name is not acceptable.
            TypeError: an object has no state.
            SessionError: the state is not JSON, or could not be saved; what was saved before is
                still there.
        """
        key = make_key(session_id, user_id)
        _check_names(modules)
        entries: Document = {}
        for name, module in modules.items():
            try:
                entries[name] = dump_state(module)
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
            except SessionError as error:
                raise SessionError(f"{name}: {error}") from None
        await self._entries(key).write(entries)

    async def load_session_state(
        self,
        session_id: str,
        user_id: str = "",
        allow_not_exist: bool = True,  # noqa: FBT001, FBT002 - AgentScope's signature
        **modules: object,
    ) -> None:
        """Put saved states back into objects; one that has none saved stays as it is.

        Args:
            session_id: 1 to 256 characters, no control characters.
            user_id: Whose session it is; up to 256 such characters.
            allow_not_exist: False makes a session that nobody saved an error.
            **modules: As for `save_session_state`.

        Raises:
            ValueError: an id or a name is not acceptable, or there is no such session.
            TypeError: an object cannot take a state.
            SessionError: the session could not be read, or a state does not fit its object, which
                then is as it was before.
        """
        key = make_key(session_id, user_id)
        _check_names(modules)
        document = await self._entries(key).read(modules)
        if document is None:
            if not allow_not_exist:
                raise ValueError(f'there is no session "{session_id}"')
            return
        for name, module in modules.items():
            if name not in document:
                continue
            try:
                load_state(module, document[name])
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
            except SessionError as error:
                raise SessionError(f"{name}: {error}") from error.__cause__

    async def load_context_state(self, key: SessionKey) -> dict[str, Any]:
        """Return `ctx.state` as it was last saved; see `SessionHold.load_state`."""
        return await self.hold(key, None).load_state()

    async def save_context_state(self, key: SessionKey, state: object) -> None:
        """Save `ctx.state` beside others who may do so; see `SessionHold.save_state`."""
        await self.hold(key, None).save_state(state)

    async def describe(self, key: SessionKey) -> SessionInfo | None:
        """Return what is known about a session, or None if there is none; counts as a use.

        Raises:
            SessionError: it could not be read.
        """
        document = (await self._store.load(key)).document
        # What has no entries is what some stores keep of a session that was deleted.
        return await anyio.to_thread.run_sync(describe_document, document) if document else None

    async def delete(self, key: SessionKey) -> None:
        """Forget a session, if there is one; a run that has its turn cannot save it any more.

        Raises:
            SessionError: it could not be deleted.
        """
        await self._store.delete(key)

    async def delete_session(self, session_id: str, user_id: str = "") -> None:
        """Forget a session, if there is one.

        Raises:
            ValueError: an id is not acceptable.
            SessionError: it could not be deleted.
        """
        await self.delete(make_key(session_id, user_id))

    def _entries(self, key: SessionKey) -> Entries:
        hold = current_hold.get()
        if hold is not None and hold.owner is self and hold.key == key and not hold.is_over:
            return hold.entries
        return SharedEntries(self._store, key, turns=0)


def _check_names(modules: Mapping[str, object]) -> None:
    for name in modules:
        if name.startswith(RESERVED_PREFIX):
            raise ValueError(f'names that start with "{RESERVED_PREFIX}" are reserved')
