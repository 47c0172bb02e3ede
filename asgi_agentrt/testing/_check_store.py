"""What every session store promises."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

import anyio
import anyio.lowlevel

from .._session import ABSENT, Document, SessionKey
from ..exceptions import SessionConflictError, SessionError
from ._checking import Check, OpenStore, expect, expect_conflict, expect_held, open_place

_TASKS: Final = 20
_LARGE_BYTES: Final = 5_000_000
_CANCELLED_AFTER: Final = 12

# Ids that have been paths, patterns, separators or equal names for somebody.
_HOSTILE: Final = (
    ("", "../x"), ("..", ".."), ("", "/etc/passwd"), ("", "C:\\x"), ("", "con"), ("nul", "com1"),
    ("", "trailing. "), ("", ".hidden"), ("a_b", "c"), ("a", "b_c"), ("", "a_b_c"), ("a:b", "c"),
    ("a", "b:c"), ("a@b", "c"), ("a", "b@c"), ("a/b", "c"), ("a", "b/c"), ("", "Ann"), ("", "ann"),
    ("", "\u00e9"), ("", "e\u0301"), ("", "\u00df"), ("", "ss"), ("", "%41"), ("", "A"), ("", "*"),
    ("", "{x}"), ("", "x}{"), ("", "$(reboot)"), ("", "' OR 1=1 --"), ("", "\U0001f600" * 100),
    ("x" * 220, "x" * 220), ("x" * 219, "x" * 221), ("", " "), ("", "null"), ("null", ""),
)  # fmt: skip


async def check_absent_sessions(open_store: OpenStore) -> None:
    """A session that nobody saved has no document and the version `ABSENT`."""
    async with open_place(open_store) as (store, key):
        expect(await store.load(key) == (None, ABSENT), "what nobody saved is absent")
        await expect_conflict(
            store.save(key, {}, "made up"), "an absent session is at no other version"
        )
        expect((await store.load(key)).document is None, "a save that is refused writes nothing")


async def check_saved_is_loaded(open_store: OpenStore) -> None:
    """What is saved is loaded, to the last character."""
    document: Document = {
        "memory": {"text": "é😀\u2028\x00", "list": [1, 2.5, -0.0, 10**20, None, True, {}]},
        "empty": {},
        "with:colon and space": {"": "", "nested": [[[{"a": []}]]]},
    }
    async with open_place(open_store) as place:
        first = await place.store.save(place.key, document, ABSENT)
        await expect_held(place, document, first, "what is saved is loaded")
        second = await place.store.save(place.key, {"other": {}}, first)
        await expect_held(place, {"other": {}}, second, "a save replaces the whole document")


async def check_versions(open_store: OpenStore) -> None:
    """A save at any version but the last is refused."""
    async with open_place(open_store) as place:
        store, key = place
        first = await store.save(key, {"n": {"is": 1}}, ABSENT)
        second = await store.save(key, {"n": {"is": 2}}, first)
        for stale in (ABSENT, first, "made up"):
            await expect_conflict(
                store.save(key, {"n": {"is": 3}}, stale), "an old version saves nothing"
            )
        await expect_held(place, {"n": {"is": 2}}, second, "a refused save changes nothing")


async def check_deleting(open_store: OpenStore) -> None:
    """A deleted session is gone, and none of its versions comes back."""
    async with open_place(open_store) as (store, key):
        await store.delete(key)
        # Some stores remember that a session was deleted, even one that never was.
        old = await store.save(key, {"n": {"is": 1}}, (await store.load(key)).version)
        await store.delete(key)
        await store.delete(key)
        document, version = await store.load(key)
        expect(not document, "a deleted session has no entries")
        await expect_conflict(
            store.save(key, {"n": {"is": 2}}, old), "a deleted session is not saved at its version"
        )
        new = await store.save(key, {"n": {"is": 3}}, version)
        expect(new != old, "a version is never used twice")


async def check_hostile_ids(open_store: OpenStore) -> None:
    """Any two texts are a session of their own."""
    mark = uuid4().hex[:8]
    keys = [SessionKey(user, f"{session}{mark}") for user, session in _HOSTILE]
    async with open_place(open_store) as (store, _):
        for number, key in enumerate(keys):
            try:
                await store.save(key, {"number": {"is": number}}, ABSENT)
            except SessionConflictError:
                expect(False, f"{key!r} is a session of its own")  # noqa: FBT003  it is not
        for number, key in enumerate(keys):
            found = (await store.load(key)).document
            expect(found == {"number": {"is": number}}, f"{key!r} is a session of its own")
            await store.delete(key)


async def check_documents_are_copies(open_store: OpenStore) -> None:
    """What was saved or loaded belongs to the caller."""
    async with open_place(open_store) as place:
        document: Document = {"n": {"list": [1]}}
        version = await place.store.save(place.key, document, ABSENT)
        document["n"]["list"].append(2)
        loaded, _ = await place.store.load(place.key)
        expect(loaded is not None, "what is saved is loaded")
        if loaded is not None:
            loaded["n"]["list"].append(3)
        await expect_held(place, {"n": {"list": [1]}}, version, "documents belong to the caller")


async def check_what_is_not_json(open_store: OpenStore) -> None:
    """A document that is not JSON is refused with SessionError and leaves the old one."""
    async with open_place(open_store) as place:
        version = await place.store.save(place.key, {"n": {"is": 1}}, ABSENT)
        for value in (object(), {1, 2}, float("nan"), b"bytes"):
            refused = False
            try:
                await place.store.save(place.key, {"n": {"is": [value]}}, version)
            except SessionConflictError:
                pass
            except SessionError:
                refused = True
            expect(refused, "what is not JSON is a SessionError")
        await expect_held(place, {"n": {"is": 1}}, version, "what is not JSON changes nothing")


async def check_halves_of_characters(open_store: OpenStore) -> None:
    """What a model's stream that was cut may leave is saved, or refused with SessionError."""
    async with open_place(open_store) as place:
        old: Document = {"n": {"is": 1}}
        version = await place.store.save(place.key, old, ABSENT)
        new: Document = {"n": {"is": "cut \ud83d"}}
        try:
            version = await place.store.save(place.key, new, version)
        except SessionConflictError:
            raise
        except SessionError:
            new = old
        await expect_held(place, new, version, "half a character is kept or refused")


async def check_concurrent_saves(open_store: OpenStore) -> None:
    """Of many saves of one version exactly one wins."""
    async with open_place(open_store) as (store, key):
        winners: list[int] = []

        async def save(number: int) -> None:
            try:
                await store.save(key, {"n": {"is": number}}, ABSENT)
            except SessionConflictError:
                return
            winners.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(_TASKS):
                tasks.start_soon(save, number)
        expect(len(winners) == 1, f"one save of a version wins, not {len(winners)}")
        expect(
            (await store.load(key)).document == {"n": {"is": winners[0]}}, "the winner's is kept"
        )


async def check_concurrent_counting(open_store: OpenStore) -> None:
    """Tasks that load, add one and save, again after a conflict, lose nothing."""
    async with open_place(open_store) as (store, key):

        async def count() -> None:
            while True:
                document, version = await store.load(key)
                number = (document or {"n": {"is": 0}})["n"]["is"]
                try:
                    await store.save(key, {"n": {"is": number + 1}}, version)
                except SessionConflictError:
                    continue
                return

        async with anyio.create_task_group() as tasks:
            for _ in range(_TASKS // 2):
                tasks.start_soon(count)
        expect(
            (await store.load(key)).document == {"n": {"is": _TASKS // 2}},
            "no save is lost among others",
        )


async def check_cancelled_saves(open_store: OpenStore) -> None:
    """A cancelled save leaves the old document or the new one, and nothing writes later."""
    async with open_place(open_store) as (store, key):
        held: Document | None = {"n": {"is": 0, "filling": ["x" * 100] * 2000}}
        version = await store.save(key, held or {}, ABSENT)
        for steps in range(_CANCELLED_AFTER):
            new: dict[str, Any] = {"n": {"is": steps + 1, "filling": ["y" * 100] * 2000}}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.save, key, new, version)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            document, after = await store.load(key)
            expect(document in (held, new), "a cancelled save leaves the old document or the new")
            expect((after == version) is (document == held), "a version stands for one document")
            held, version = document, after


async def check_large_documents(open_store: OpenStore) -> None:
    """Megabytes are saved and loaded like anything else."""
    async with open_place(open_store) as place:
        text = "Lorem ipsum dolor sit amet é " * 20
        large: Document = {"memory": {"content": [{"text": text}] * (_LARGE_BYTES // len(text))}}
        version = await place.store.save(place.key, large, ABSENT)
        await expect_held(place, large, version, "megabytes are saved like anything else")


SESSION_STORE_CHECKS: Final[tuple[Check, ...]] = (
    check_absent_sessions,
    check_saved_is_loaded,
    check_versions,
    check_deleting,
    check_hostile_ids,
    check_documents_are_copies,
    check_what_is_not_json,
    check_halves_of_characters,
    check_concurrent_saves,
    check_concurrent_counting,
    check_cancelled_saves,
    check_large_documents,
)
