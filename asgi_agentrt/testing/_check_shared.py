"""What session stores promise whose sessions outlive them, or are shared by several."""

from __future__ import annotations

from typing import Final

import anyio

from .._session import ABSENT, SessionLines
from ..exceptions import SessionConflictError
from ._checking import Check, OpenStore, expect, expect_conflict, open_place

_TASKS: Final = 10


async def check_reopening(open_store: OpenStore) -> None:
    """What one store has saved, the next one finds, at its version."""
    async with open_place(open_store) as (store, key):
        async with open_store() as other:
            version = await other.save(key, {"n": {"is": 1}}, ABSENT)
        expect(await store.load(key) == ({"n": {"is": 1}}, version), "sessions outlive a store")


async def check_two_stores(open_store: OpenStore) -> None:
    """Two stores at one place refuse each other's old versions."""
    async with open_place(open_store) as (store, key), open_store() as other:
        first = await store.save(key, {"n": {"is": 1}}, ABSENT)
        second = await other.save(key, {"n": {"is": 2}}, first)
        await expect_conflict(
            store.save(key, {"n": {"is": 3}}, first), "what another store saved counts"
        )
        await other.delete(key)
        await expect_conflict(
            store.save(key, {"n": {"is": 3}}, second), "what another store deleted counts"
        )


async def check_counting_in_two_stores(open_store: OpenStore) -> None:
    """Tasks of two stores that load, add one and save lose nothing."""
    async with open_place(open_store) as (store, key), open_store() as other:

        async def count(number: int) -> None:
            mine = (store, other)[number % 2]
            while True:
                document, version = await mine.load(key)
                so_far = (document or {"n": {"is": 0}})["n"]["is"]
                try:
                    await mine.save(key, {"n": {"is": so_far + 1}}, version)
                except SessionConflictError:
                    continue
                return

        async with anyio.create_task_group() as tasks:
            for number in range(_TASKS):
                tasks.start_soon(count, number)
        found = (await store.load(key)).document
        expect(found == {"n": {"is": _TASKS}}, "no save is lost among those of other stores")


async def check_lines_of_two_stores(open_store: OpenStore) -> None:
    """Two stores at one place keep the same lines, if they keep any."""
    async with open_place(open_store) as (store, key), open_store() as other:
        one: object = store
        two: object = other
        if not (isinstance(one, SessionLines) and isinstance(two, SessionLines)):
            return
        await one.enter(key, "a", lease_s=60)
        standing = await two.enter(key, "b", lease_s=60, interrupt=True)
        expect(standing == (1, "a", False), "a line is shared")
        expect(await one.renew(key, "a", lease_s=60) == (0, "a", True), "interrupts are shared")
        await expect_conflict(two.save_in_turn(key, {}, ABSENT, "b"), "turns are shared")
        await two.leave(key, "a")
        expect(await two.renew(key, "b", lease_s=60) == (0, "b", False), "a line is shared")
        await one.leave(key, "b")


SHARED_STORE_CHECKS: Final[tuple[Check, ...]] = (
    check_reopening,
    check_two_stores,
    check_counting_in_two_stores,
    check_lines_of_two_stores,
)
