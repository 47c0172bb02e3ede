"""Time and chance, as values: tests pass their own and never wait."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a reporter gets its time from.

    Attributes:
        clock: Seconds that never jump; only differences mean anything.
        sleep: Waits this many seconds, on the same clock.
        utc_now: The time of day, with a time zone.
        chance: A number from 0 up to 1, for jitter.
    """

    clock: Callable[[], float] = anyio.current_time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    utc_now: Callable[[], datetime] = _utc_now
    chance: Callable[[], float] = random.random
