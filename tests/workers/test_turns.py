"""One call of a session at a time, whichever worker it comes to, and whatever befalls that one."""

from __future__ import annotations

import time
from collections.abc import Generator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.support.redis_server import needs_redis
from tests.workers.calls import Gate, ask, calling, until
from tests.workers.places import Place, open_place
from tests.workers.workers import Worker, open_workers

pytestmark = pytest.mark.slow

LEASE_S = 2.0
# The machine may be busy otherwise.
SLACK_S = 3.0


@pytest.fixture(scope="module", params=["json", pytest.param("redis", marks=needs_redis)])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Place]:
    folder = tmp_path_factory.mktemp("sessions")
    with open_place(request.param, folder, lease_s=LEASE_S) as place:
        yield place


@pytest.fixture(scope="module")
def workers(place: Place) -> Generator[list[Worker]]:
    with open_workers(place, 2) as workers:
        yield workers


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


async def tokens(place: Place, session_id: str) -> list[str]:
    return [token for token, _ in await place.log(session_id)]


async def test_calls_have_their_turns_in_the_order_in_which_they_came(
    place: Place, workers: list[Worker], gate: Gate
) -> None:
    names = ["0", "1", "2", "3", "4", "5"]
    async with calling(workers[0], "fifo", gate.content(names[0])) as first:
        await first.next()
        async with anyio.create_task_group() as tasks:
            for number, name in enumerate(names[1:], start=1):
                tasks.start_soon(ask, workers[number % 2], "fifo", name)

                async def stands_in_line(number: int) -> bool:
                    return await place.count_in_line("fifo") == number + 1

                await until(partial(stands_in_line, number))
            gate.open()
            await first.end()
    assert await tokens(place, "fifo") == names


async def test_a_session_whose_worker_was_killed_is_free_within_the_lease(
    place: Place, workers: list[Worker], gate: Gate
) -> None:
    async with calling(workers[0], "killed", gate.content("killed")) as call:
        await call.next()
        workers[0].kill()
        began = time.monotonic()
        try:
            answer = await ask(workers[1], "killed", "next")
            took_s = time.monotonic() - began
        finally:
            workers[0].start()
            await anyio.to_thread.run_sync(workers[0].wait_ready)
    assert answer.status_code == 200
    assert took_s < LEASE_S + SLACK_S
    assert await tokens(place, "killed") == ["next"]


@pytest.mark.parametrize("successor", ["is at it", "has left"])
async def test_a_worker_that_was_paused_too_long_saves_nothing_and_says_so(
    place: Place, workers: list[Worker], gate: Gate, tmp_path: Path, successor: str
) -> None:
    session_id = f"paused {successor}"
    other = Gate(tmp_path / "other")
    if successor == "has left":
        other.open()
    async with calling(workers[0], session_id, gate.content("zombie")) as zombie:
        await zombie.next()
        workers[0].pause()
        try:
            async with calling(workers[1], session_id, other.content("other")) as call:
                assert (await call.next())["content"] == "1"
                if successor == "has left":
                    await call.end()
                    gate.open()  # it ends its turn before it hears of anything
                workers[0].go_on()
                error = await zombie.error()
                if successor == "is at it":
                    other.open()
                    await call.end()
        finally:
            workers[0].go_on()
    assert error["code"] == ("CANCELLED" if successor == "is at it" else "INTERNAL")
    assert await tokens(place, session_id) == ["other"]


async def test_reject_names_the_run_in_the_other_worker(
    place: Place, workers: list[Worker], gate: Gate
) -> None:
    async with calling(workers[0], "reject", gate.content("first"), setting="reject") as first:
        await first.next()
        refused = await ask(workers[1], "reject", "second", setting="reject")
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "SESSION_BUSY"
        assert refused.headers["x-run-id"] == first.run_id
        gate.open()
        await first.end()
        accepted = await ask(workers[1], "reject", "third", setting="reject")
    assert accepted.status_code == 200
    assert await tokens(place, "reject") == ["first", "third"]


async def test_interrupt_ends_the_run_in_the_other_worker_at_once(
    place: Place, workers: list[Worker], gate: Gate
) -> None:
    async with calling(workers[0], "cut", gate.content("first"), setting="interrupt") as first:
        await first.next()
        began = time.monotonic()
        second = await ask(workers[1], "cut", "second", setting="interrupt")
        took_s = time.monotonic() - began
        assert (await first.error())["code"] == "CANCELLED"
    assert second.status_code == 200
    assert took_s < 1.0 + SLACK_S
    # What an interrupted turn did until then is kept.
    assert await tokens(place, "cut") == ["first", "second"]
