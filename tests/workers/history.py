"""What clients did and were told, and whether calls that run one at a time can explain it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

# The turns of a session in the order in which they were saved: token and run id.
Log = Sequence[tuple[str, str]]


class Answered(NamedTuple):
    """A call that came to a good end.

    Attributes:
        token: What it appended; unique among all calls.
        run_id: Which run said so.
        length: How long the log was with it.
        began_at: When it was sent, by the clients' clock.
        ended_at: When its answer was there.
    """

    token: str
    run_id: str
    length: int
    began_at: float
    ended_at: float


class History:
    """All calls of all clients, by session."""

    def __init__(self) -> None:
        self.answered: dict[str, list[Answered]] = {}
        self.failures: Counter[str] = Counter()
        self._sent: dict[str, set[str]] = {}

    def sent(self, session_id: str, token: str) -> None:
        """A call is on its way; what becomes of it may never be known."""
        self._sent.setdefault(session_id, set()).add(token)

    def note(self, session_id: str, answered: Answered) -> None:
        """A call came to a good end."""
        self.answered.setdefault(session_id, []).append(answered)

    def sessions(self) -> list[str]:
        """Return the sessions that were called."""
        return sorted(self._sent)

    def count(self) -> int:
        """Return how many calls came to a good end."""
        return sum(map(len, self.answered.values()))

    def faults(self, logs: Mapping[str, Log]) -> list[str]:
        """Return what no order of calls, one at a time, explains; nothing if all is well."""
        return [
            f"{session_id}: {fault}"
            for session_id in self.sessions()
            for fault in self._faults_of(session_id, logs[session_id])
        ]

    def _faults_of(self, session_id: str, log: Log) -> list[str]:
        answered = self.answered.get(session_id, [])
        times = Counter(token for token, _ in log)
        faults = [f"{token} is there {count} times" for token, count in times.items() if count > 1]
        faults += [f"nobody sent {token}" for token in times.keys() - self._sent[session_id]]
        for call in answered:
            here = log[call.length - 1] if call.length <= len(log) else None
            if here != (call.token, call.run_id):
                faults.append(f"{call} was acknowledged, and at its place is {here}")
        return faults + _overtaken(answered)


def _overtaken(calls: Sequence[Answered]) -> list[str]:
    """Return the calls whose place is before that of one which had ended before they began."""
    faults: list[str] = []
    ended = sorted(calls, key=lambda call: call.ended_at)
    last: Answered | None = None
    for call in sorted(calls, key=lambda call: call.began_at):
        while ended and ended[0].ended_at < call.began_at:
            earlier = ended.pop(0)
            if last is None or earlier.length > last.length:
                last = earlier
        if last is not None and last.length >= call.length:
            faults.append(f"{call} was sent after the answer to {last}, and comes before it")
    return faults
