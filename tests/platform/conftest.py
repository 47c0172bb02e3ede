from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import anyio
import pytest

from asgi_agentrt._config import PlatformConfig
from asgi_agentrt._platform import Action, Reporter, Snapshot, Timing
from tests.support.platform_server import PlatformServer, open_platform

START = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


class ManualTime:
    """A clock that stands still; the reporter sleeps until the test lets it go on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.chance = 0.5
        self.naps = 0
        self._delay: float | None = None
        self._changed = anyio.Event()
        self._go = anyio.Event()

    @property
    def timing(self) -> Timing:
        return Timing(
            clock=lambda: self.now,
            sleep=self._sleep,
            utc_now=lambda: START,
            chance=lambda: self.chance,
        )

    async def _sleep(self, seconds: float) -> None:
        self.naps += 1
        self._delay, self._go = seconds, anyio.Event()
        self._changed.set()
        try:
            await self._go.wait()
        finally:
            self._delay = None

    async def until_asleep(self) -> float:
        """Return for how many seconds the reporter wants to sleep, once it does."""
        with anyio.fail_after(5):
            while self._delay is None:
                self._changed = anyio.Event()
                await self._changed.wait()
        return self._delay

    async def until_nap(self, number: int) -> float:
        """Return the delay of the nap with this number; the first is 1."""
        with anyio.fail_after(5):
            while self.naps < number:
                self._changed = anyio.Event()
                await self._changed.wait()
        return await self.until_asleep()

    async def until_asleep_again(self) -> float:
        """Let that sleep pass and return how long the next one is to be."""
        self.now += await self.until_asleep()
        self._delay = None
        self._go.set()
        return await self.until_asleep()


@dataclass
class Runtime:
    """What the reporter sees of the runtime; `actions` are those it was asked for."""

    snapshot: Snapshot = field(default_factory=lambda: Snapshot("running", 5, 1000))
    actions: list[Action] = field(default_factory=list[Action])
    failure: Exception | None = None
    gate: anyio.Event | None = None

    async def act(self, action: Action) -> None:
        self.actions.append(action)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure


MakeReporter: TypeAlias = Callable[..., Reporter]
Running: TypeAlias = Callable[[Reporter], AbstractAsyncContextManager[None]]


@pytest.fixture
def platform() -> Iterator[PlatformServer]:
    with open_platform() as server:
        yield server


@pytest.fixture
async def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
async def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
def make_reporter(platform: PlatformServer, time: ManualTime, runtime: Runtime) -> MakeReporter:
    def make(**changed: Any) -> Reporter:
        config: dict[str, Any] = {
            "endpoint": platform.url + "/api",
            "instance_id": "inst-1",
            "token": "s3cret-token",
            "heartbeat_interval": 30.0,
        }
        return Reporter(
            PlatformConfig(**(config | changed)),
            snapshot=lambda: runtime.snapshot,
            on_action=runtime.act,
            timing=time.timing,
        )

    return make


@pytest.fixture
def running() -> Running:
    @asynccontextmanager
    async def run(reporter: Reporter) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reporter.run)
            yield
            tasks.cancel_scope.cancel()

    return run
