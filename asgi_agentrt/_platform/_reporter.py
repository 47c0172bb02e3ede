"""Heartbeats to the platform, and carrying out what it asks for."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
import httpx

from .._config import PlatformConfig
from ..exceptions import AgentRuntimeError
from ._announcements import Announcements
from ._channel import Channel
from ._client import PlatformClient, load_certificates
from ._memory import resident_memory_mb
from ._protocol import ExchangeError, beat_body
from ._snapshot import Action, Snapshot, Status
from ._timing import Timing

logger = logging.getLogger(__name__)

_EXCHANGE_LIMIT_S = 10.0
_SHORTEST_EXCHANGE_LIMIT_S = 1.0
_LAST_BEAT_LIMIT_S = 2.0


class Reporter:
    """Tells a platform how the runtime is, and does what the platform asks for.

    It touches the rest of the runtime in two places only, both given to it: `snapshot`, which
    must be quick, must not wait and may one day be called from another thread, and `on_action`.
    A platform that is dead, slow or talks nonsense costs one log line when that begins and one
    when it ends. Without an endpoint nothing happens at all.
    """

    def __init__(
        self,
        config: PlatformConfig,
        *,
        snapshot: Callable[[], Snapshot],
        on_action: Callable[[Action], Awaitable[None]],
        transport: httpx.AsyncBaseTransport | None = None,
        timing: Timing | None = None,
    ) -> None:
        """Set up; nothing is opened yet.

        Args:
            config: Where the platform is and who we are there.
            snapshot: How the runtime is now.
            on_action: Carries out an action; called in a task of its own, one at a time, while
                heartbeats go on. What it raises is told to the platform in the next heartbeat.
            transport: Takes the place of the network.
            timing: Takes the place of time and chance.
        """
        self._config = config
        self._snapshot = snapshot
        self._on_action = on_action
        self._transport = transport
        self._timing = timing or Timing()
        self._error: str | None = None
        self._has_ended = False
        self._certificates: ssl.SSLContext | None = None
        self._is_hurried = False
        self._wake: anyio.Event | None = None

    async def run(self) -> None:
        """Report until cancelled, or until `last_beat`; raises for no fault of the platform."""
        if self._config.endpoint is None:
            return
        self._has_ended = False
        interval_s = self._config.heartbeat_interval
        limit_s = max(_SHORTEST_EXCHANGE_LIMIT_S, min(_EXCHANGE_LIMIT_S, interval_s))
        try:
            opened = await self._open_client(limit_s)
        except ExchangeError as fault:
            logger.error("platform: there will be no heartbeats: %s", fault)
            return
        async with opened as client, anyio.create_task_group() as tasks:
            try:
                await self._report(client, tasks)
            finally:
                tasks.cancel_scope.cancel()

    def beat_soon(self) -> None:
        """Send the next heartbeat now, because the status changed; from the loop `run` is on.

        While the platform is failing this does nothing: it is not to be hurried.
        """
        self._is_hurried = True
        if self._wake is not None:
            self._wake.set()

    async def last_beat(self, status: Status) -> None:
        """Tell the platform how it ended; at most 2 seconds, whatever the platform does.

        `run` sends nothing more afterwards. Also works when `run` was never started or is over,
        and inside a cancelled scope.
        """
        self._has_ended = True
        if self._config.endpoint is None:
            return
        with anyio.move_on_after(_LAST_BEAT_LIMIT_S, shield=True):
            try:
                async with await self._open_client(_LAST_BEAT_LIMIT_S) as client:
                    await client.send_beat(self._body(status))
            except ExchangeError as fault:
                logger.debug("platform: the last heartbeat fails: %s", fault)

    async def _open_client(self, limit_s: float) -> PlatformClient:
        if self._certificates is None:
            self._certificates = await load_certificates()
        return PlatformClient(
            self._config,
            limit_s=limit_s,
            utc_now=self._timing.utc_now,
            certificates=self._certificates,
            transport=self._transport,
        )

    async def _report(self, client: PlatformClient, tasks: anyio.abc.TaskGroup) -> None:
        interval_s, timing = self._config.heartbeat_interval, self._timing
        beats = Channel("heartbeat", interval_s=interval_s, chance=timing.chance)
        checks = Channel("config check", interval_s=interval_s, chance=timing.chance)
        announcements = Announcements(interval_s=interval_s)
        next_check = timing.clock()
        while not self._has_ended:
            began = timing.clock()
            self._is_hurried = False
            delay = await self._beat(client, beats)
            if not beats.is_failing and timing.clock() >= next_check:
                pause = await self._check(client, checks, announcements)
                # Halved: every regular heartbeat brings a check along, a hurried one does not.
                next_check = began + (pause if checks.is_failing else interval_s / 2)
            self._act(announcements, tasks)
            await self._wait(began + delay - timing.clock(), may_hurry=not beats.is_failing)

    async def _beat(self, client: PlatformClient, channel: Channel) -> float:
        """Send one heartbeat; returns the seconds from its beginning to the next one."""
        told = self._error
        try:
            await client.send_beat(self._body())
        except ExchangeError as fault:
            return channel.failed(fault)
        if self._error is told:
            self._error = None
        return channel.succeeded()

    async def _check(
        self, client: PlatformClient, channel: Channel, announcements: Announcements
    ) -> float:
        try:
            action = await client.fetch_action()
        except ExchangeError as fault:
            return channel.failed(fault)
        announcements.heard(action, now=self._timing.clock())
        return channel.succeeded()

    def _act(self, announcements: Announcements, tasks: anyio.abc.TaskGroup) -> None:
        if self._has_ended or self._snapshot().status in ("draining", "stopping"):
            return
        action = announcements.begin(now=self._timing.clock())
        if action is not None:
            tasks.start_soon(self._carry_out, action, announcements, name=f"platform {action}")

    async def _carry_out(self, action: Action, announcements: Announcements) -> None:
        logger.info("platform: asks for a %s", action)
        try:
            await self._on_action(action)
        except AgentRuntimeError as error:
            logger.error("platform: the %s failed: %s", action, error)
            self._error = f"{action} failed: {error}"
        except Exception as error:
            logger.exception("platform: the %s failed", action)
            # The platform learns the type only: nobody vouches for what the text holds.
            self._error = f"{action} failed: {type(error).__name__}"
        finally:
            announcements.ended(now=self._timing.clock())
        self.beat_soon()

    async def _wait(self, seconds: float, *, may_hurry: bool) -> None:
        """Sleep until the next heartbeat is due; `beat_soon` ends it if that is allowed."""
        if not may_hurry:
            await self._timing.sleep(max(0.0, seconds))
        elif not self._is_hurried:
            self._wake = wake = anyio.Event()
            try:
                async with anyio.create_task_group() as race:
                    race.start_soon(_cancel_at, wake, race.cancel_scope)
                    await self._timing.sleep(max(0.0, seconds))
                    race.cancel_scope.cancel()
            finally:
                self._wake = None

    def _body(self, status: Status | None = None) -> dict[str, object]:
        now = self._snapshot()
        if status is not None:
            now = Snapshot(status, now.active_sessions, now.total_requests)
        return beat_body(
            now,
            at=self._timing.utc_now(),
            memory_mb=resident_memory_mb(),
            error=self._error,
        )


async def _cancel_at(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
