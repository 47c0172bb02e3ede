"""The events of one run, on their way to whoever listens."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .._concurrency import WakeUp
from .._message import WireMessage

# What one listener may have waiting before the run has to wait for it. Enough for the bursts of
# any model; a client that stops reading costs this much memory and no more.
UNSENT_LIMIT_BYTES = 64 * 1024


class Event(NamedTuple):
    """One event of a run.

    `number` counts from 1, `data` is the compact JSON of `body`: a message, or for the kind
    `error` a dict with the key `error`.
    """

    number: int
    kind: Literal["message", "error", "done"]
    body: WireMessage
    data: bytes


class Subscription:
    """One listener's place in a run log; one task at a time takes from it."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self._ready: list[Event] = []
        self._unsent_bytes = 0
        self._in_flight_bytes = 0
        self._changed = WakeUp()

    @property
    def is_full(self) -> bool:
        """Whether the run should wait for this listener."""
        return self._unsent_bytes >= UNSENT_LIMIT_BYTES

    @property
    def is_over(self) -> bool:
        """Whether the run has ended and all of its events were taken."""
        return self._log.is_closed and not self._ready

    def push(self, event: Event) -> None:
        """Add an event (the log calls this)."""
        self._ready.append(event)
        self._unsent_bytes += len(event.data)
        self._changed.set()

    def poke(self) -> None:
        """Let `wait` return although nothing came."""
        self._changed.set()

    def take(self) -> list[Event]:
        """Return all events that are ready; what was taken before counts as sent from now on."""
        ready, self._ready = self._ready, []
        was_full = self.is_full
        self._unsent_bytes -= self._in_flight_bytes
        self._in_flight_bytes = self._unsent_bytes
        if was_full and not self.is_full:
            self._log.has_room.set()
        return ready

    async def wait(self) -> None:
        """Return when an event is ready, the run is over, or somebody poked."""
        await self._changed.wait()

    def close(self) -> None:
        """Listen no more; the run does not wait for this listener any longer."""
        self._log.subscriptions.discard(self)
        self._ready.clear()
        self._unsent_bytes = self._in_flight_bytes = 0
        self._log.has_room.set()


class RunLog:
    """Numbers the events of a run and hands them to its listeners.

    The first listener gets every event: there is a place for it from the start, since an eager
    event loop begins a run before whoever started it can listen. One task writes. `has_room` is
    set when a full listener has caught up or left.
    """

    def __init__(self) -> None:
        self._first: Subscription | None = Subscription(self)
        self.subscriptions = {self._first}
        self.has_room = WakeUp()
        self.is_closed = False
        self.last_number = 0

    def subscribe(self) -> Subscription:
        """Start listening; to all but the first, events written before are not repeated."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        subscription = Subscription(self)
        self.subscriptions.add(subscription)
        return subscription

    def append(
        self, kind: Literal["message", "error", "done"], body: WireMessage, data: bytes
    ) -> None:
        """Write one event; never waits."""
        self.last_number += 1
        event = Event(self.last_number, kind, body, data)
        for subscription in self.subscriptions:
            subscription.push(event)

    @property
    def is_full(self) -> bool:
        """Whether a listener has more unsent bytes than it may."""
        return any(subscription.is_full for subscription in self.subscriptions)

    async def wait_for_room(self) -> None:
        """Wait until every listener has caught up or left."""
        while self.is_full:
            await self.has_room.wait()

    def close(self) -> None:
        """Say that no event will follow."""
        self.is_closed = True
        for subscription in self.subscriptions:
            subscription.poke()
