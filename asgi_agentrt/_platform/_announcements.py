"""Which of the platform's announcements to act on, and when; a pure state machine."""

from __future__ import annotations

from ._snapshot import Action

_HOLD_INTERVALS = 1.5
_HOLD_CAP_S = 3600.0


class Announcements:
    """Decides when an announced action is carried out.

    An announcement has no identity on the wire, and some platforms repeat it until they have
    seen us react while others say it once. So:

    - one action runs at a time;
    - after an action, the same one is not carried out again for a hold of 1.5 intervals. A
      repeat during the action or the hold is remembered and carried out once when the hold
      ends, so that a second announcement is never lost;
    - each such repeat doubles the hold, up to an hour: a platform that never stops repeating
      itself gets few reloads, not one a heartbeat;
    - an answer without an action, after the hold, makes everything new;
    - another action than the last one is not held, and `restart` wins over `reload`.

    Times are seconds on the reporter's clock.
    """

    def __init__(self, *, interval_s: float) -> None:
        self._first_hold_s = interval_s * _HOLD_INTERVALS
        self._hold_s = self._first_hold_s
        self._held_until = 0.0
        self._last: Action | None = None
        self._running: Action | None = None
        self._waiting: Action | None = None

    def heard(self, action: Action | None, *, now: float) -> None:
        """Take note of an answer of the platform."""
        if action is None:
            if self._running is None and self._waiting is None and now >= self._held_until:
                self._last = None
                self._hold_s = self._first_hold_s
        elif action == "restart" or self._waiting is None:
            self._waiting = action

    def begin(self, *, now: float) -> Action | None:
        """Return the action that is to be carried out now; `ended` must follow."""
        action = self._waiting
        if action is None or self._running is not None:
            return None
        if action == self._last:
            if now < self._held_until:
                return None
            self._hold_s = min(self._hold_s * 2, max(_HOLD_CAP_S, self._first_hold_s))
        else:
            self._hold_s = self._first_hold_s
        self._waiting = None
        self._running = self._last = action
        return action

    def ended(self, *, now: float) -> None:
        """The action is over, well or badly."""
        self._running = None
        self._held_until = now + self._hold_s
