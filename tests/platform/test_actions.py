"""What the platform asks for is done, once, and what came of it is told."""

from __future__ import annotations

import itertools
import logging

import anyio
import pytest

from asgi_agentrt._platform import Action, Snapshot
from asgi_agentrt._platform._announcements import Announcements
from asgi_agentrt.exceptions import StartupError
from tests.support.platform_server import (
    NOTHING_NEW,
    RELOAD,
    RESTART,
    Answer,
    PlatformServer,
    says,
)

from .conftest import MakeReporter, ManualTime, Running, Runtime


@pytest.mark.parametrize("action", ["reload", "restart"])
async def test_an_announced_action_is_carried_out_once_and_the_next_heartbeat_comes_at_once(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
    action: str,
) -> None:
    platform.on_config.append(says({"updated": True, "action": action, "revision": 7}))
    async with running(make_reporter()):
        await time.until_nap(2)
        assert len(platform.beats) == 2
        assert len(platform.checks) == 1
        for _ in range(3):
            await time.until_asleep_again()
    assert runtime.actions == [action]


@pytest.mark.parametrize(
    "answer",
    [
        says({"updated": True, "action": "none"}),
        says({"updated": False, "action": "reload"}),
        says({}),
        Answer(204, body=b""),
    ],
)
async def test_nothing_is_done_unless_it_is_asked_for(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    platform.on_config.append(answer)
    async with running(make_reporter()):
        await time.until_asleep()
        await time.until_asleep_again()
    assert runtime.actions == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_heartbeats_go_on_while_an_action_runs_and_no_second_one_begins(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
) -> None:
    platform.on_config.extend([RELOAD] * 5)
    runtime.gate = anyio.Event()
    async with running(make_reporter()):
        await time.until_asleep()
        for _ in range(4):
            await time.until_asleep_again()
        assert runtime.actions == ["reload"]
        assert len(platform.beats) == 5


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (StartupError("models.main", "no such model"), "models.main: no such model"),
        (ValueError("password is hunter2"), "ValueError"),
    ],
)
async def test_a_failed_reload_is_told_in_one_heartbeat(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    told: str,
) -> None:
    """Texts of our own errors are safe to send; of others only the type is told."""
    platform.on_config.append(RELOAD)
    runtime.failure = failure
    async with running(make_reporter()):
        await time.until_nap(2)
        await time.until_asleep_again()
    first, second, third = platform.beats
    assert second["error"] == f"reload failed: {told}"
    assert second["status"] == "running"
    assert "error" not in first
    assert "error" not in third
    assert [r.levelno for r in caplog.records].count(logging.ERROR) == 1


async def test_the_failure_is_told_until_a_heartbeat_gets_through(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
) -> None:
    platform.on_config.append(RELOAD)
    platform.on_heartbeat.extend([NOTHING_NEW, Answer(500)])
    runtime.failure = RuntimeError("x" * 10_000)
    async with running(make_reporter()):
        await time.until_nap(2)
        await time.until_asleep_again()
    assert ["error" in beat for beat in platform.beats] == [False, True, True]


async def test_a_runtime_on_its_way_out_begins_no_action(
    make_reporter: MakeReporter,
    running: Running,
    platform: PlatformServer,
    time: ManualTime,
    runtime: Runtime,
) -> None:
    platform.on_config.append(RESTART)
    runtime.snapshot = Snapshot("draining", 0, 0)
    async with running(make_reporter()):
        await time.until_asleep()
        await time.until_asleep_again()
    assert runtime.actions == []


class Announced:
    """Runs through answers of a platform, one every ten seconds; actions take no time."""

    def __init__(self) -> None:
        self.announcements = Announcements(interval_s=10)
        self.now = 0.0
        self.done: list[tuple[float, str]] = []

    def hear(self, *answers: Action | None) -> list[tuple[float, str]]:
        for answer in answers:
            self.announcements.heard(answer, now=self.now)
            if (action := self.announcements.begin(now=self.now)) is not None:
                self.done.append((self.now, action))
                self.announcements.ended(now=self.now)
            self.now += 10
        return self.done


def test_an_announcement_that_is_taken_back_once_seen_is_acted_on_once() -> None:
    assert Announced().hear("reload", None, None, None, None) == [(0, "reload")]


def test_a_second_announcement_soon_after_the_first_is_held_but_not_lost() -> None:
    assert Announced().hear("reload", "reload", None, None) == [(0, "reload"), (20, "reload")]


def test_announcements_with_quiet_in_between_are_all_acted_on() -> None:
    announced = Announced()
    for _ in range(3):
        announced.hear("reload", None, None)
    assert announced.done == [(0, "reload"), (30, "reload"), (60, "reload")]


def _for_ever(action: Action) -> list[Action]:
    return [action] * 1000


def test_a_platform_that_repeats_itself_for_ever_gets_ever_fewer_reloads() -> None:
    times = [when for when, _ in Announced().hear(*_for_ever("reload"))]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:5] == [20, 30, 60, 120, 240]
    assert max(pauses) == 3600


def test_a_restart_does_not_wait_for_the_hold_of_a_reload() -> None:
    assert Announced().hear("reload", "restart", None) == [(0, "reload"), (10, "restart")]


def test_a_restart_that_waits_is_not_replaced_by_a_reload() -> None:
    announcements = Announcements(interval_s=10)
    announcements.heard("reload", now=0)
    assert announcements.begin(now=0) == "reload"
    announcements.heard("restart", now=10)
    announcements.heard("reload", now=20)
    announcements.heard(None, now=30)
    assert announcements.begin(now=30) is None
    announcements.ended(now=40)
    assert announcements.begin(now=40) == "restart"
