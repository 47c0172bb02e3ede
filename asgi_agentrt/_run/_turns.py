"""One call of a session at a time, in the order in which the calls came."""

from __future__ import annotations

from collections import deque
from typing import Literal, Protocol

import anyio

from .._session import SessionKey
from ..exceptions import SessionBusyError

Concurrency = Literal["queue", "reject", "interrupt", "parallel"]


class Cancellable(Protocol):
    """What stands in the line: a run."""

    @property
    def id(self) -> str:
        """Its run id."""
        ...

    def cancel(self, reason: Literal["interrupted"]) -> None:
        """Ask it to end."""
        ...


class Turn:
    """A place in a session's line."""

    def __init__(self, turns: SessionTurns, key: SessionKey, run: Cancellable) -> None:
        self.run = run
        self.has_come = anyio.Event()
        self._turns = turns
        self._key = key

    def leave(self) -> None:
        """Let the next one go ahead; doing it twice is fine."""
        self._turns.leave(self._key, self)


class SessionTurns:
    """The lines of all sessions that have a call running; a session without one takes no memory."""

    def __init__(self) -> None:
        self._lines: dict[SessionKey, deque[Turn]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def enter(self, key: SessionKey, run: Cancellable, concurrency: Concurrency) -> Turn:
        """Join the line of a session; `has_come` is set when it is this one's turn.

        Raises:
            SessionBusyError: a call is running and `concurrency` is `reject`.
        """
        turn = Turn(self, key, run)
        line = self._lines.get(key)
        if concurrency == "parallel":
            turn.has_come.set()
            return turn
        if line is None:
            self._lines[key] = deque((turn,))
            turn.has_come.set()
            return turn
        if concurrency == "reject":
            raise SessionBusyError(line[0].run.id)
        if concurrency == "interrupt":
            for earlier in line:
                earlier.run.cancel("interrupted")
        line.append(turn)
        return turn

    def leave(self, key: SessionKey, turn: Turn) -> None:
        """Take a turn out of its line."""
        line = self._lines.get(key)
        if line is None or turn not in line:
            return
        line.remove(turn)
        if line:
            line[0].has_come.set()
        else:
            del self._lines[key]
