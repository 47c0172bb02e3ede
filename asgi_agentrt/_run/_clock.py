"""The clock of all open streams: who needs a keep-alive, and whose client has stopped reading."""

from __future__ import annotations

from typing import Protocol

import anyio


class Ticking(Protocol):
    """A stream, as the clock sees it."""

    def tick(self, now: float) -> None:
        """Look at the time, `anyio.current_time()` seconds; must not block or raise."""
        ...


class StreamClock:
    """One task that looks at every stream now and then, instead of a timer for each event sent."""

    def __init__(self, *, shortest_s: float) -> None:
        self._period_s = min(1.0, max(0.01, shortest_s / 4))
        self._streams: set[Ticking] = set()

    def add(self, stream: Ticking) -> None:
        """Tick this stream from now on."""
        self._streams.add(stream)

    def remove(self, stream: Ticking) -> None:
        """Tick it no more."""
        self._streams.discard(stream)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await anyio.sleep(self._period_s)
            now = anyio.current_time()
            for stream in tuple(self._streams):
                stream.tick(now)
