"""The log of a run: order, bounds, listeners."""

from __future__ import annotations

import anyio
from anyio.lowlevel import checkpoint

from asgi_agentrt._concurrency import WakeUp
from asgi_agentrt._run import RunLog
from asgi_agentrt._run._log import UNSENT_LIMIT_BYTES
from tests.support.driver import LIMIT_S


def write(log: RunLog, size: int = 10) -> None:
    log.append("message", {}, b"x" * size)


async def test_events_are_numbered_from_one_and_come_in_order() -> None:
    log = RunLog()
    subscription = log.subscribe()
    for _ in range(3):
        write(log)
    assert [event.number for event in subscription.take()] == [1, 2, 3]
    write(log)
    assert [event.number for event in subscription.take()] == [4]
    assert subscription.take() == []


async def test_a_listener_is_over_when_the_log_is_closed_and_read() -> None:
    log = RunLog()
    subscription = log.subscribe()
    write(log)
    log.close()
    assert not subscription.is_over
    subscription.take()
    assert subscription.is_over
    with anyio.fail_after(LIMIT_S):
        await subscription.wait()  # returns at once


async def test_the_first_listener_misses_nothing_however_late_it_comes() -> None:
    log = RunLog()
    write(log)
    assert [event.number for event in log.subscribe().take()] == [1]
    assert log.subscribe().take() == []


async def test_every_listener_gets_every_event() -> None:
    log = RunLog()
    first, second = log.subscribe(), log.subscribe()
    write(log)
    first.take()
    write(log)
    assert [event.number for event in first.take()] == [2]
    assert [event.number for event in second.take()] == [1, 2]


async def test_what_was_taken_counts_as_unsent_until_the_next_take() -> None:
    log = RunLog()
    subscription = log.subscribe()
    write(log, UNSENT_LIMIT_BYTES)
    assert log.is_full
    subscription.take()
    assert log.is_full  # it is being sent
    subscription.take()
    assert not log.is_full


async def test_the_writer_waits_for_the_slowest_listener() -> None:
    log = RunLog()
    fast, slow = log.subscribe(), log.subscribe()
    write(log, UNSENT_LIMIT_BYTES)
    has_room = anyio.Event()

    async def wait() -> None:
        await log.wait_for_room()
        has_room.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for _ in range(2):
            fast.take()
            await checkpoint()
        assert not has_room.is_set()
        slow.take()
        await checkpoint()
        assert not has_room.is_set()
        slow.take()
        with anyio.fail_after(LIMIT_S):
            await has_room.wait()


async def test_a_listener_that_leaves_is_not_waited_for() -> None:
    log = RunLog()
    subscription = log.subscribe()
    write(log, UNSENT_LIMIT_BYTES)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.wait_for_room)
        await checkpoint()
        subscription.close()
    assert not log.subscriptions


async def test_without_a_listener_the_writer_never_waits() -> None:
    log = RunLog()
    log.subscribe().close()
    for _ in range(10):
        write(log, UNSENT_LIMIT_BYTES)
    with anyio.fail_after(LIMIT_S):
        await log.wait_for_room()


async def test_a_wake_up_that_came_first_is_not_lost() -> None:
    wake_up = WakeUp()
    wake_up.set()
    wake_up.set()
    with anyio.fail_after(LIMIT_S):
        await wake_up.wait()
    with anyio.move_on_after(0.02) as scope:
        await wake_up.wait()
    assert scope.cancelled_caught  # one wait takes the flag down, however often it was set


async def test_a_wake_up_survives_a_cancelled_wait() -> None:
    wake_up = WakeUp()
    with anyio.move_on_after(0.01):
        await wake_up.wait()
    wake_up.set()
    with anyio.fail_after(LIMIT_S):
        await wake_up.wait()
