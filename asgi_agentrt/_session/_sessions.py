"""What apps see as `runtime.session`: states by name, kept for each session."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

import anyio

from ..exceptions import SessionConflictError, SessionCorruptError, SessionError
from ._document import NotJsonError, copy_json, is_object, is_same_json
from ._key import make_key
from ._state import dump_state, load_state
from ._store import RESERVED_PREFIX, Document, SessionKey, SessionStore, Stored

logger = logging.getLogger(__name__)

CONTEXT_STATE: Final = f"{RESERVED_PREFIX}state"

_ATTEMPTS: Final = 20
_MAX_PAUSE_S: Final = 0.05


class Sessions:
    """Saves and loads states by name; a save leaves the entries of other names as they are.

    Many tasks may call it at once, for one session too: what they save under different names is
    all kept, and for one name the last one wins.

    Args:
        store: Where the sessions are kept; the caller closes it.

    Attributes:
        state: Whether the store did what it was last asked to.
        reason: Why it is down; None while it is up.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self.state: Literal["up", "down"] = "up"
        self.reason: str | None = None

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
        await self._merge(key, entries)

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
        document = (await self._load(key, modules)).document
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
        """Return what `ctx.state` was when it was last saved; empty when it never was.

        Raises:
            SessionError: the session could not be read.
        """
        document = (await self._load(key, (CONTEXT_STATE,))).document
        state: object = {} if document is None else document.get(CONTEXT_STATE, {})
        if not is_object(state):
            raise SessionCorruptError("the session's state is not a dict")
        return state

    async def save_context_state(self, key: SessionKey, state: object) -> None:
        """Keep `ctx.state` until the next call.

        Raises:
            SessionError: it is not a dict of JSON values, or could not be saved.
        """
        if not is_object(state):
            raise SessionError(f"ctx.state is of type {type(state).__qualname__}, not a dict")
        try:
            copied = copy_json(state)
        except RecursionError:
            raise SessionError("ctx.state is nested too deeply") from None
        try:
            # An app that keeps no state costs no write.
            await self._merge(key, {CONTEXT_STATE: copied}, absent={})
        except SessionError as error:
            # The entry's own name means nothing to the app.
            text = str(error).replace(f'the state of "{CONTEXT_STATE}"', "ctx.state")
            raise type(error)(text) from error.__cause__

    async def delete_session(self, session_id: str, user_id: str = "") -> None:
        """Forget a session, if there is one.

        Raises:
            ValueError: an id is not acceptable.
            SessionError: it could not be deleted.
        """
        key = make_key(session_id, user_id)
        try:
            await self._store.delete(key)
        except SessionError as error:
            self._note(error)
            raise
        self._note(None)

    async def _load(self, key: SessionKey, names: Collection[str]) -> Stored:
        try:
            stored = await self._store.load(key, names=names)
        except SessionError as error:
            self._note(error)
            raise
        self._note(None)
        return stored

    async def _merge(
        self, key: SessionKey, entries: Document, *, absent: dict[str, Any] | None = None
    ) -> None:
        """Save entries beside those of others, who may be saving at the same time.

        Nothing is written when nothing changes; an entry that is not there counts as `absent`.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            document, version = await self._load(key, entries)
            held = document or {}
            if all(is_same_json(held.get(name, absent), new) for name, new in entries.items()):
                return
            try:
                await self._store.save(key, {**held, **entries}, version)
            except SessionConflictError:
                if attempt == _ATTEMPTS:
                    raise
            except SessionError as error:
                self._note(error)
                raise
            else:
                return
            pause_s = min(0.002 * 2**attempt, _MAX_PAUSE_S)
            await anyio.sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads the contenders

    def _note(self, error: SessionError | None) -> None:
        """Remember whether the store is up; what lies in one session says nothing about that."""
        if isinstance(error, SessionConflictError | SessionCorruptError | NotJsonError):
            return
        state: Literal["up", "down"] = "up" if error is None else "down"
        if state != self.state:
            log = logger.info if error is None else logger.warning
            log("the session store is %s%s", state, "" if error is None else f": {error}")
        self.state = state
        self.reason = None if error is None else str(error)


def _check_names(modules: Mapping[str, object]) -> None:
    for name in modules:
        if name.startswith(RESERVED_PREFIX):
            raise ValueError(f'names that start with "{RESERVED_PREFIX}" are reserved')
