"""What a run has of its session while it runs."""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Self

from ..exceptions import SessionCorruptError, SessionError
from ._document import copy_json, is_object
from ._entries import Entries
from ._mending import mend
from ._store import RESERVED_PREFIX, SessionKey

CONTEXT_STATE: Final = f"{RESERVED_PREFIX}state"


class SessionHold:
    """One run's access to its session, for `ctx.state` and for what its app saves by name.

    As a context manager it is what `runtime.session` uses for this session in the current context;
    what was started in it and outlives it saves like anybody else.

    Attributes:
        owner: Who gave it.
        key: Of which session.
        entries: The session's entries, as this run may read and write them.
        is_over: Whether the context manager was left.
    """

    def __init__(self, owner: object, key: SessionKey, entries: Entries) -> None:
        self.owner = owner
        self.key = key
        self.entries = entries
        self.is_over: bool = False
        self._token: Token[SessionHold | None] | None = None

    def __enter__(self) -> Self:
        self._token = current_hold.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_over = True
        if self._token is not None:
            current_hold.reset(self._token)
            self._token = None

    async def load_state(self) -> dict[str, Any]:
        """Return what `ctx.state` was when it was last saved; empty when it never was.

        Raises:
            SessionError: the session could not be read.
        """
        document = await self.entries.read((CONTEXT_STATE,))
        state: object = {} if document is None else document.get(CONTEXT_STATE, {})
        if not is_object(state):
            raise SessionCorruptError("the session's state is not a dict")
        copied: dict[str, Any] = copy_json(state)
        return copied

    async def save_state(self, state: object, *, is_cut_off: bool = False) -> None:
        """Keep `ctx.state` until the next call. An app that keeps none costs no write.

        AgentScope's conversations in it are mended, so that models accept them.

        Args:
            state: A dict of JSON values.
            is_cut_off: Whether the app was stopped; one that was not may have ended its turn with
                calls whose results it is going to get.

        Raises:
            SessionConflictError: the run has lost its turn, or somebody else saved the state.
            SessionError: it is not a dict of JSON values, or could not be saved.
        """
        if not is_object(state):
            raise SessionError(f"ctx.state is of type {type(state).__qualname__}, not a dict")
        try:
            copied = copy_json(state)
        except RecursionError:
            raise SessionError("ctx.state is nested too deeply") from None
        mended = mend(copied, keep_last=not is_cut_off)
        try:
            await self.entries.write({CONTEXT_STATE: mended}, absent={})
        except SessionError as error:
            # The entry's own name means nothing to the app.
            text = str(error).replace(f'the state of "{CONTEXT_STATE}"', "ctx.state")
            raise type(error)(text) from error.__cause__


current_hold: ContextVar[SessionHold | None] = ContextVar("asgi_agentrt_hold", default=None)
