"""A run's answer as a stream: whatever is ready goes out in one send, as soon as it is ready."""

from __future__ import annotations

import logging
from contextlib import suppress

import anyio

from .._run import Run, StreamClock
from .._types import Message, Receive, Send
from . import _sse
from ._watch import ClientWatch

logger = logging.getLogger(__name__)


class EventStream:
    """One client listening to one run.

    Args:
        run: Started, and nothing written to its log yet.
        clock: Ticks this stream while it is open.
        ping_interval_s: Seconds without a send after which a keep-alive comment is due.
        send_timeout_s: Seconds that one send may take before the client counts as gone.
        keep_run: Whether the run goes on without the client.
    """

    def __init__(
        self,
        run: Run,
        *,
        clock: StreamClock,
        ping_interval_s: float,
        send_timeout_s: float,
        keep_run: bool,
    ) -> None:
        self._run = run
        self._subscription = run.log.subscribe()
        self._clock = clock
        self._ping_interval_s = ping_interval_s
        self._send_timeout_s = send_timeout_s
        self._keep_run = keep_run
        self._scope = anyio.CancelScope()
        self._last_sent = anyio.current_time()
        self._is_sending = False
        self._is_ping_due = False

    def tick(self, now: float) -> None:
        """Notice a client that has stopped reading, and a connection that has been silent."""
        silent_s = now - self._last_sent
        if self._is_sending:
            if silent_s > self._send_timeout_s:
                self._scope.cancel()
        elif silent_s >= self._ping_interval_s:
            self._is_ping_due = True
            self._subscription.poke()

    async def serve(self, receive: Receive, send: Send) -> None:
        """Stream until the run has ended or the client has left."""
        is_complete = False
        self._clock.add(self)
        try:
            with self._scope:
                async with ClientWatch(receive, on_left=self._scope.cancel):
                    is_complete = await self._send_all(send)
        finally:
            self._clock.remove(self)
            self._subscription.close()
            if not is_complete and not self._keep_run:
                self._run.cancel("disconnected")
        if not is_complete:
            await self._end(send)

    async def _send_all(self, send: Send) -> bool:
        """Return whether everything was sent; False when sending failed."""
        subscription = self._subscription
        headers = [*_sse.HEADERS, (b"x-run-id", self._run.id.encode())]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        if not await self._timed(send, start):
            return False
        while True:
            if events := subscription.take():
                body = b"".join([_sse.event(event.number, event.data) for event in events])
            elif self._is_ping_due and not subscription.is_over:
                body = _sse.PING
            else:
                body = b""
            is_last = subscription.is_over
            if not body and not is_last:
                await subscription.wait()
                continue
            part: Message = {"type": "http.response.body", "body": body, "more_body": not is_last}
            if not await self._timed(send, part):
                return False
            if is_last:
                return True

    async def _timed(self, send: Send, message: Message) -> bool:
        """Send, while the clock sees since when; return whether the server took it."""
        self._last_sent = anyio.current_time()
        self._is_sending = True
        try:
            await send(message)
        except OSError:
            return False  # how ASGI 2.4 says that the client has left
        except Exception as error:  # noqa: BLE001  servers have errors of their own for it
            logger.debug("sending to the client of run %s failed: %r", self._run.id, error)
            return False
        self._is_sending = self._is_ping_due = False
        self._last_sent = anyio.current_time()
        return True

    async def _end(self, send: Send) -> None:
        """Close the answer for whoever stands between us and a client that has left."""
        # The connection is dead: whatever this raises, nobody is there to tell.
        with anyio.move_on_after(1, shield=True), suppress(Exception):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
