"""What holds for every backend."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from asgi_agentrt._session import ABSENT, SessionKey, SessionStore
from asgi_agentrt.exceptions import SessionConflictError, SessionError

KEY = SessionKey("ann", "s1")


async def test_a_session_that_nobody_saved_is_absent(store: SessionStore) -> None:
    assert await store.load(KEY) == (None, ABSENT)


async def test_what_is_saved_is_loaded(store: SessionStore) -> None:
    document: dict[str, Any] = {
        "memory": {"text": "é😀\ud83d", "list": [1, 2.5, None, True, {}]},
        "empty": {},
    }
    version = await store.save(KEY, document, ABSENT)
    assert await store.load(KEY) == (document, version)


async def test_each_user_has_sessions_of_his_own(store: SessionStore) -> None:
    keys = [
        SessionKey("", "a_b"),
        SessionKey("a", "b"),
        SessionKey("A", "b"),
        SessionKey("a", "../b"),
    ]
    for number, key in enumerate(keys):
        await store.save(key, {"number": {"is": number}}, ABSENT)
    for number, key in enumerate(keys):
        assert (await store.load(key)).document == {"number": {"is": number}}


async def test_an_old_version_saves_nothing(store: SessionStore) -> None:
    first = await store.save(KEY, {"n": {"is": 1}}, ABSENT)
    second = await store.save(KEY, {"n": {"is": 2}}, first)
    assert first != second
    for stale in (ABSENT, first, "made up"):
        with pytest.raises(SessionConflictError):
            await store.save(KEY, {"n": {"is": 3}}, stale)
    assert await store.load(KEY) == ({"n": {"is": 2}}, second)


async def test_an_existing_version_of_an_absent_session_saves_nothing(store: SessionStore) -> None:
    with pytest.raises(SessionConflictError):
        await store.save(KEY, {"n": {"is": 1}}, "gone")
    assert (await store.load(KEY)).document is None


async def test_no_version_comes_back_after_a_session_was_deleted(store: SessionStore) -> None:
    old = await store.save(KEY, {"n": {"is": 1}}, ABSENT)
    await store.delete(KEY)
    document, version = await store.load(KEY)
    assert not document
    new = await store.save(KEY, {"n": {"is": 2}}, version)
    assert new != old
    with pytest.raises(SessionConflictError):
        await store.save(KEY, {"n": {"is": 3}}, old)


async def test_deleting_what_is_not_there_is_fine(store: SessionStore) -> None:
    await store.delete(KEY)
    await store.delete(KEY)


async def test_what_was_loaded_belongs_to_the_caller(store: SessionStore) -> None:
    await store.save(KEY, {"n": {"list": [1]}}, ABSENT)
    document, _ = await store.load(KEY)
    assert document is not None
    document["n"]["list"].append(2)
    assert (await store.load(KEY)).document == {"n": {"list": [1]}}


async def test_what_is_not_json_leaves_the_old_document(store: SessionStore) -> None:
    version = await store.save(KEY, {"n": {"is": 1}}, ABSENT)
    with pytest.raises(SessionError, match=r'"n" cannot be saved: is\[0\] is of type object'):
        await store.save(KEY, {"n": {"is": [object()]}}, version)
    assert await store.load(KEY) == ({"n": {"is": 1}}, version)


async def test_of_many_concurrent_saves_of_a_version_one_wins(store: SessionStore) -> None:
    version = await store.save(KEY, {"n": {"is": -1}}, ABSENT)
    winners: list[int] = []

    async def save(number: int) -> None:
        try:
            await store.save(KEY, {"n": {"is": number}}, version)
        except SessionConflictError:
            return
        winners.append(number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(save, number)
    assert len(winners) == 1
    assert (await store.load(KEY)).document == {"n": {"is": winners[0]}}


async def test_a_cancelled_save_leaves_the_old_document_or_the_new(store: SessionStore) -> None:
    """Cancelled after so many steps of the event loop as it takes, and one less each time."""
    big: dict[str, Any] = {"n": {"is": 0, "filling": ["x" * 100] * 5000}}
    version = await store.save(KEY, big, ABSENT)
    outcomes = set()
    for steps in range(12):
        new = {"n": {**big["n"], "is": steps + 1}}
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.save, KEY, new, version)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        document, after = await store.load(KEY)
        assert document in (big, new)
        assert (after == version) is (document == big)
        outcomes.add(document == new)
        big, version = document, after
    assert False in outcomes
