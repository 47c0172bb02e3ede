"""uvicorn, made to end well; only `agentrt run` imports this."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol

import uvicorn  # noqa: TID253 (who imports this module wants it)

from .._types import ASGIApp

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# What the last events need to reach their clients once the runs have been cancelled.
_AFTER_DRAIN_S = 5


class Course(Protocol):
    """Called in the event loop: `started` once it listens, `stopping` once it is to stop."""

    def started(self) -> None:
        """It listens."""
        ...

    async def stopping(self) -> None:
        """It is to stop; may be called more than once."""
        ...


class Server(uvicorn.Server):  # type: ignore[misc] # checked without uvicorn's types
    """A uvicorn whose `run()` returns on a stop signal.

    uvicorn's own would send the signal to itself once more at its end, and die of it. A signal
    during the start cancels the start: `run()` raises CancelledError.
    """

    def __init__(self, app: ASGIApp, course: Course, *, drain_timeout_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                ws="none",
                log_config=None,
                timeout_graceful_shutdown=math.ceil(drain_timeout_s) + _AFTER_DRAIN_S,
            )
        )
        self._course = course
        self._is_shut_down = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is to stop."""
        await super().serve(sockets=sockets)
        if self.started and not self._is_shut_down:
            # Older versions leave like this when the signal comes right after the start.
            await self.shutdown(sockets=sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Handle the stop signals meanwhile."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        before = {number: signal.signal(number, self.handle_exit) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; the second Ctrl-C waits for nobody."""
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self.started:
            # A callback of the loop is no task, and anyio works in tasks only.
            self._stopping = self._loop.create_task(self._course.stopping())
        elif self._task is not None:
            self._task.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app and listen."""
        await super().startup(sockets=sockets)
        if self.started:
            self._course.started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, close the connections, stop the app."""
        self._is_shut_down = True
        await self._course.stopping()
        await super().shutdown(sockets=sockets)
