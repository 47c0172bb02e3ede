"""What session stores promise that keep lines themselves."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.lowlevel

from .._session import ABSENT, SessionKey, SessionLines, SessionStore, Standing
from ._checking import Check, OpenStore, expect, expect_conflict, open_place

_LONG_S: Final = 60.0
_SHORT_S: Final = 0.05
_TASKS: Final = 20

_FREE: Final = Standing(None, None, is_interrupted=False)


@asynccontextmanager
async def _open_line(
    open_store: OpenStore,
) -> AsyncGenerator[tuple[SessionStore, SessionLines, SessionKey]]:
    async with open_place(open_store) as (store, key):
        lines: object = store
        if not isinstance(lines, SessionLines):
            raise AssertionError(f"{type(store).__qualname__} keeps no lines")
        yield store, lines, key


async def _wait_for_turn(lines: SessionLines, key: SessionKey, ticket: str) -> Standing:
    while (standing := await lines.renew(key, ticket, lease_s=_LONG_S)).position != 0:
        expect(standing.position is not None, "a ticket that is renewed stays in the line")
        await anyio.sleep(_SHORT_S / 5)
    return standing


async def check_order(open_store: OpenStore) -> None:
    """Tickets have their turn in the order in which they came."""
    async with _open_line(open_store) as (_, lines, key):
        for position, ticket in enumerate("abc"):
            standing = await lines.enter(key, ticket, lease_s=_LONG_S)
            expect(standing == (position, "a", False), "the first who comes is the first")
        await lines.leave(key, "b")
        expect((await lines.renew(key, "c", lease_s=_LONG_S)).position == 1, "who leaves is out")
        await lines.leave(key, "a")
        expect(
            await lines.renew(key, "c", lease_s=_LONG_S) == (0, "c", False),
            "the next one has the turn when the first has left",
        )
        await lines.leave(key, "c")
        expect(await lines.renew(key, "c", lease_s=_LONG_S) == _FREE, "who left is not in the line")


async def check_entering_twice(open_store: OpenStore) -> None:
    """Entering again renews, leaving again does nothing: answers can get lost."""
    async with _open_line(open_store) as (_, lines, key):
        await lines.leave(key, "a")
        for _ in range(2):
            expect(
                await lines.enter(key, "a", lease_s=_LONG_S, only_if_free=True) == (0, "a", False),
                "entering again is entering once",
            )
        expect((await lines.enter(key, "b", lease_s=_LONG_S)).position == 1, "one place a ticket")
        for _ in range(2):
            await lines.leave(key, "a")
        expect((await lines.renew(key, "b", lease_s=_LONG_S)).position == 0, "leaving is for good")
        await lines.leave(key, "b")


async def check_leases(open_store: OpenStore) -> None:
    """A lease that is not renewed ends, and what was dropped does not come back."""
    async with _open_line(open_store) as (_, lines, key):
        await lines.enter(key, "dead", lease_s=_SHORT_S)
        await lines.enter(key, "too", lease_s=_SHORT_S)
        expect((await lines.enter(key, "next", lease_s=_LONG_S)).head == "dead", "leases hold")
        standing = await _wait_for_turn(lines, key, "next")
        expect(standing == (0, "next", False), "who waits has the turn when leases ahead end")
        for ticket in ("dead", "too"):
            expect(
                await lines.renew(key, ticket, lease_s=_LONG_S) == (None, "next", False),
                "a ticket that was dropped is not in the line",
            )
        again = await lines.enter(key, "dead", lease_s=_LONG_S)
        expect(again == (1, "next", False), "a ticket that was dropped enters at the end")
        for ticket in ("dead", "next"):
            await lines.leave(key, ticket)


async def check_unwanted_turns(open_store: OpenStore) -> None:
    """A lease that ended while nobody else came by can still be renewed."""
    async with _open_line(open_store) as (_, lines, key):
        await lines.enter(key, "slow", lease_s=_SHORT_S)
        await anyio.sleep(_SHORT_S * 2)
        expect(
            await lines.renew(key, "slow", lease_s=_LONG_S) == (0, "slow", False),
            "a turn that nobody wants is kept",
        )
        expect((await lines.enter(key, "next", lease_s=_LONG_S)).position == 1, "and is a lease")
        for ticket in ("slow", "next"):
            await lines.leave(key, ticket)


async def check_interrupts(open_store: OpenStore) -> None:
    """An interrupt reaches all that are ahead, and nobody who comes later."""
    async with _open_line(open_store) as (_, lines, key):
        await lines.enter(key, "a", lease_s=_LONG_S)
        await lines.enter(key, "b", lease_s=_LONG_S)
        standing = await lines.enter(key, "c", lease_s=_LONG_S, interrupt=True)
        expect(standing == (2, "a", False), "who interrupts waits")
        for position, ticket, is_interrupted in ((0, "a", True), (1, "b", True), (2, "c", False)):
            standing = await lines.renew(key, ticket, lease_s=_LONG_S)
            expect(standing == (position, "a", is_interrupted), "an interrupt marks all ahead")
        await lines.enter(key, "d", lease_s=_LONG_S)
        expect(not (await lines.renew(key, "d", lease_s=_LONG_S)).is_interrupted, "and no others")
        for ticket in "abcd":
            await lines.leave(key, ticket)


async def check_free_lines(open_store: OpenStore) -> None:
    """Who enters only a free line is told who has the turn, and leaves no trace."""
    async with _open_line(open_store) as (_, lines, key):
        expect(
            await lines.enter(key, "a", lease_s=_SHORT_S, only_if_free=True) == (0, "a", False),
            "a free line can be entered",
        )
        while (
            standing := await lines.enter(key, "b", lease_s=_LONG_S, only_if_free=True)
        ).position is None:
            expect(standing == (None, "a", False), "a line that is not free is not entered")
            await anyio.sleep(_SHORT_S / 5)
        expect(standing == (0, "b", False), "a line of ended leases is free")
        refused = await lines.enter(key, "c", lease_s=_LONG_S, only_if_free=True)
        expect(refused == (None, "b", False), "a line that is not free is not entered")
        await lines.leave(key, "b")
        expect(await lines.renew(key, "c", lease_s=_LONG_S) == _FREE, "a refusal leaves no trace")


async def check_saving_in_turn(open_store: OpenStore) -> None:
    """Who lost the turn saves nothing while another has it, at whatever version."""
    async with _open_line(open_store) as (store, lines, key):
        await lines.enter(key, "zombie", lease_s=_SHORT_S)
        version = await lines.save_in_turn(key, {"n": {"is": 1}}, ABSENT, "zombie")
        await lines.enter(key, "next", lease_s=_LONG_S)
        await expect_conflict(
            lines.save_in_turn(key, {"n": {"is": 2}}, version, "next"),
            "who waits for the turn cannot save",
        )
        await _wait_for_turn(lines, key, "next")
        await expect_conflict(
            lines.save_in_turn(key, {"n": {"is": 2}}, version, "zombie"),
            "who lost the turn cannot save",
        )
        expect(await store.load(key) == ({"n": {"is": 1}}, version), "a refusal changes nothing")
        newer = await lines.save_in_turn(key, {"n": {"is": 3}}, version, "next")
        await lines.leave(key, "next")
        await expect_conflict(
            lines.save_in_turn(key, {"n": {"is": 2}}, version, "zombie"),
            "an old version saves nothing, though nobody has the turn",
        )
        expect(await store.load(key) == ({"n": {"is": 3}}, newer), "a refusal changes nothing")


async def check_many_at_once(open_store: OpenStore) -> None:
    """Of many that enter at once each has its turn, one at a time."""
    async with _open_line(open_store) as (_, lines, key):
        inside = 0
        served: list[int] = []

        async def call(number: int) -> None:
            nonlocal inside
            await lines.enter(key, f"t{number}", lease_s=_LONG_S)
            await _wait_for_turn(lines, key, f"t{number}")
            inside += 1
            expect(inside == 1, "one at a time has the turn")
            await anyio.lowlevel.checkpoint()
            inside -= 1
            served.append(number)
            await lines.leave(key, f"t{number}")

        async with anyio.create_task_group() as tasks:
            for number in range(_TASKS):
                tasks.start_soon(call, number)
        expect(sorted(served) == list(range(_TASKS)), "everybody has a turn")


async def check_lines_are_apart(open_store: OpenStore) -> None:
    """Each session has a line of its own, and any text is a ticket."""
    async with _open_line(open_store) as (_, lines, key):
        keys = [key, SessionKey("", key.session_id), SessionKey("x", f"{key.session_id}/..")]
        tickets = ["é😀", '"', "\\", "x" * 500]
        for other in keys:
            for position, ticket in enumerate(tickets):
                standing = await lines.enter(other, ticket, lease_s=_LONG_S)
                expect(standing == (position, tickets[0], False), "each session has its own line")
        for other in keys:
            for ticket in tickets:
                await lines.leave(other, ticket)


SESSION_LINES_CHECKS: Final[tuple[Check, ...]] = (
    check_order,
    check_entering_twice,
    check_leases,
    check_unwanted_turns,
    check_interrupts,
    check_free_lines,
    check_saving_in_turn,
    check_many_at_once,
    check_lines_are_apart,
)
