"""How much is going on, for the platform's heartbeat."""

from __future__ import annotations

import time
from collections import Counter

from .._session import SessionKey


class Activity:
    """Counts invocations and the sessions they belong to.

    Args:
        window_s: For how many seconds after its last call a session counts as active. What is
            older is forgotten, so memory follows the traffic of one window.
    """

    def __init__(self, window_s: float) -> None:
        self.total_requests: int = 0
        self._window_s = window_s
        self._running: Counter[SessionKey] = Counter()
        # In the order of their ends, oldest first: a session that ends again moves to the back.
        self._ended_at: dict[SessionKey, float] = {}

    def started(self, key: SessionKey) -> None:
        """Count a run in."""
        self.total_requests += 1
        self._running[key] += 1

    def ended(self, key: SessionKey) -> None:
        """Count a run out."""
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        self._ended_at.pop(key, None)
        self._ended_at[key] = time.monotonic()
        self._forget()

    @property
    def active_sessions(self) -> int:
        """Sessions with a running invocation, or with one that ended within the window."""
        self._forget()
        return len(self._running.keys() | self._ended_at.keys())

    def _forget(self) -> None:
        limit = time.monotonic() - self._window_s
        while self._ended_at and self._ended_at[oldest := next(iter(self._ended_at))] < limit:
            del self._ended_at[oldest]
