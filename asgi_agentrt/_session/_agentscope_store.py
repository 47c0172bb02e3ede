"""Sessions in one of AgentScope 1.x's session classes, or in a class that works like them."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Collection
from typing import Any, Final, Protocol
from uuid import uuid4

import anyio

from ..exceptions import SessionConflictError, SessionCorruptError, SessionError
from ._document import encode_document, is_object
from ._key import encode_id
from ._store import ABSENT, RESERVED_PREFIX, Document, SessionKey, Stored, Version

logger = logging.getLogger(__name__)

HEADER: Final = f"{RESERVED_PREFIX}wrapped"
_LOCK_COUNT: Final = 64
_PLAIN_ID = re.compile("[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class SessionBase(Protocol):
    """What AgentScope 1.x's session classes can do."""

    async def save_session_state(self, session_id: str, **modules: Any) -> None:
        """Replace what is kept of a session by `state_dict()` of each module."""
        ...

    async def load_session_state(self, session_id: str, **modules: Any) -> None:
        """Call `load_state_dict()` of each module whose name is kept."""
        ...


class _Entry:
    """Stands for a module: gives a state away, or takes one."""

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any, strict: bool = True) -> None:  # noqa: FBT001, FBT002
        self.state = state


class AgentScopeStore:
    """Keeps sessions through `save_session_state` and `load_session_state` of another object.

    These replace sessions whole and list nothing, so one entry more holds the names of the others
    and the version. Versions are compared within this store only: other processes that save the
    same session at the same time are noticed most times, not always, and with AgentScope's files
    one of them may find a file half written. A session that was saved
    without us is loaded as far as the caller knows its names; saving it drops the others.

    Ids that could be paths, or that such classes mix up with others, are passed on encoded. The
    user is left out when there is none, so that the class's own default holds.
    """

    def __init__(self, sessions: SessionBase) -> None:
        self._sessions = sessions
        # A fixed number for all sessions: two of them may have to wait for each other.
        self._locks = tuple(anyio.Lock() for _ in range(_LOCK_COUNT))

    async def load(self, key: SessionKey, /, *, names: Collection[str] = ()) -> Stored:
        """Return a session; see `SessionStore`."""
        # AgentScope's own class empties a file before it writes it: nobody may look meanwhile.
        async with self._lock_of(key):
            return await self._load(key, names)

    async def _load(self, key: SessionKey, names: Collection[str]) -> Stored:
        header = (await self._load_entries(key, (HEADER,))).get(HEADER)
        if header is None:
            found = await self._load_entries(key, names)
            return Stored(found, "unversioned") if found else Stored(None, ABSENT)
        if not is_object(header) or header.get("key") != list(key):
            raise SessionCorruptError(f"{self._name} holds another session under this one's ids")
        listed = header["names"]
        return Stored(await self._load_entries(key, listed), header["version"])

    async def save(self, key: SessionKey, document: Document, version: Version, /) -> Version:
        """Replace a session; see `SessionStore`."""
        # Such classes may have opened their file before they find out.
        await anyio.to_thread.run_sync(encode_document, document)
        new_version = uuid4().hex
        header = {"version": new_version, "key": list(key), "names": list(document)}
        entries = {HEADER: _Entry(header)}
        entries.update((name, _Entry(state)) for name, state in document.items())
        async with self._lock_of(key):
            # Not cut short: what such a class leaves half done, nobody can read.
            with anyio.CancelScope(shield=True):
                if version != (await self._load(key, document)).version:
                    raise SessionConflictError("the session was saved by somebody else in between")
                await self._call("save", key, entries)
        return new_version

    async def delete(self, key: SessionKey, /) -> None:
        """Save a session without entries in its place: such classes cannot delete."""
        async with self._lock_of(key):
            header = {"version": uuid4().hex, "key": list(key), "names": []}
            with anyio.CancelScope(shield=True):
                await self._call("save", key, {HEADER: _Entry(header)})

    async def aclose(self) -> None:
        """Close the object, if it has an `aclose` or a `close`."""
        for name in ("aclose", "close"):
            if callable(close := getattr(self._sessions, name, None)):
                result = close()
                if inspect.isawaitable(result):
                    await result
                return

    def _lock_of(self, key: SessionKey) -> anyio.Lock:
        return self._locks[hash(key) % _LOCK_COUNT]

    @property
    def _name(self) -> str:
        return type(self._sessions).__qualname__

    async def _load_entries(self, key: SessionKey, names: Collection[str]) -> Document:
        entries = {name: _Entry() for name in names}
        await self._call("load", key, entries)
        return {name: entry.state for name, entry in entries.items() if entry.state is not None}

    async def _call(self, verb: str, key: SessionKey, entries: dict[str, _Entry]) -> None:
        user = {"user_id": _passed_id(key.user_id)} if key.user_id else {}
        call = getattr(self._sessions, f"{verb}_session_state")
        try:
            await call(session_id=_passed_id(key.session_id), **user, **entries)
        except json.JSONDecodeError as error:
            raise SessionCorruptError(f"what {self._name} holds is no session") from error
        except Exception as error:
            # Whatever the class and the libraries below it raise; what they say may hold secrets.
            raise SessionError(
                f"{self._name} cannot {verb} the session: {type(error).__name__}"
            ) from error


def _passed_id(value: str) -> str:
    return value if _PLAIN_ID.fullmatch(value) else encode_id(value)
