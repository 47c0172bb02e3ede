"""How many invocations run at once, and how many may wait for a place."""

from __future__ import annotations

from collections import deque

import anyio

from ..exceptions import OverloadedError


class Admission:
    """Places for running invocations, given in the order of asking.

    Args:
        limit: How many may run at once; None sets no limit.
        max_queue: How many more may be accepted, to wait for a place.
    """

    def __init__(self, limit: int | None, max_queue: int) -> None:
        self._limit = limit
        self._capacity = None if limit is None else limit + max_queue
        self._waiting: deque[Place] = deque()
        self._running = 0
        self._accepted = 0

    def enter(self) -> Place:
        """Accept an invocation.

        Raises:
            OverloadedError: as many as may run and wait were accepted already.
        """
        if self._capacity is not None and self._accepted >= self._capacity:
            raise OverloadedError("too many invocations are running")
        self._accepted += 1
        return Place(self)

    def ask(self, place: Place) -> None:
        """Give a place now, or as soon as one is free."""
        if self._limit is None or self._running < self._limit:
            self._running += 1
            place.is_running = True
            place.is_given.set()
        else:
            self._waiting.append(place)

    def leave(self, place: Place) -> None:
        """Forget an invocation and pass its place on."""
        self._accepted -= 1
        if not place.is_running:
            if place in self._waiting:
                self._waiting.remove(place)
        elif self._waiting:
            successor = self._waiting.popleft()
            successor.is_running = True
            successor.is_given.set()
        else:
            self._running -= 1


class Place:
    """An accepted invocation's place among the running ones."""

    def __init__(self, admission: Admission) -> None:
        self.is_given = anyio.Event()
        self.is_running = False
        self._admission: Admission | None = admission

    async def wait(self) -> None:
        """Wait until it may run."""
        if self._admission is not None:
            self._admission.ask(self)
            await self.is_given.wait()

    def leave(self) -> None:
        """Give it back; doing it twice is fine."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(self)
