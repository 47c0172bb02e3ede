"""What a user's app.py builds on: the base class of an app and the context of a call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class SessionContext:
    """What the app is told about the call that it serves.

    Attributes:
        session_id: The conversation, chosen by the caller; 1 to 256 characters.
        run_id: This invocation; unique, and in the answer's `X-Run-Id`.
        user_id: Whose conversation it is; "" when nobody said.
        metadata: The request's `metadata`, as sent.
        state: Kept between the calls of a session: loaded before the app runs, saved after it,
            also when it failed or was cancelled. JSON values only. Conversations of AgentScope
            in it that were cut off in a tool call are mended, so that models accept them.
        confirm: Answers to the tool calls that the last call of this session left open
            (AgentScope 2.x), as sent in the request's `confirm`; None when there are none.
        save_state: Set it to False to leave the stored state as it was.
        cancel_reason: Why the run is being cancelled; None while it is not.
    """

    session_id: str
    run_id: str = ""
    user_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    state: dict[str, Any] = field(default_factory=dict[str, Any])
    confirm: list[Any] | None = None
    save_state: bool = True
    cancel_reason: str | None = None


current_context: ContextVar[SessionContext | None] = ContextVar(
    "asgi_agentrt_context", default=None
)


class AgentApp(ABC):
    """The user's app; `app.py` defines `class App(AgentApp)`.

    One instance serves all calls of one generation of resources, many at a time.
    """

    @abstractmethod
    def __call__(self, msg: Any, ctx: SessionContext) -> AsyncIterator[Any]:
        """Answer one message: an async generator that yields messages.

        Args:
            msg: The caller's message, of the class that this parameter is annotated with:
                AgentScope's `Msg`, `asgi_agentrt.Msg` or `dict`.
            ctx: The session, the run and the state that is kept between calls.

        Yields:
            Messages of any of these classes, AgentScope 2.x events, `str` (a piece of the
            assistant's text), or objects with `to_dict()` or `model_dump()`.
        """

    async def on_startup(self) -> None:  # noqa: B027  optional
        """Run once before the first call; `asgi_agentrt.runtime` is open already."""

    async def on_shutdown(self) -> None:  # noqa: B027  optional
        """Run once after the last call; `asgi_agentrt.runtime` is still open."""
