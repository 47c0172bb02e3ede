"""What a run saves follows on what it saw: a run that lost its turn overwrites nothing."""

from __future__ import annotations

import contextvars
from typing import Any

import anyio
import pytest

from asgi_agentrt._session import (
    ABSENT,
    SessionHold,
    SessionInfo,
    SessionKey,
    Sessions,
    SessionStore,
    make_key,
)
from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt.exceptions import SessionConflictError, SessionCorruptError, SessionError

from .doubles import DictSession

KEY = make_key("s1", "ann")


@pytest.fixture
def sessions(store: SessionStore) -> Sessions:
    return Sessions(store)


async def take_turn(sessions: Sessions, ticket: str, *, lease_s: float = 60) -> SessionHold:
    standing = await sessions.lines.enter(KEY, ticket, lease_s=lease_s)
    assert standing.position == 0, standing
    return sessions.hold(KEY, ticket)


async def test_a_run_sees_and_saves_its_state_again_and_again(sessions: Sessions) -> None:
    for number in range(3):
        with await take_turn(sessions, f"run {number}") as hold:
            assert await hold.load_state() == ({"n": number} if number else {})
            await hold.save_state({"n": -1})
            await hold.save_state({"n": number + 1})
            assert await hold.load_state() == {"n": number + 1}
        await sessions.lines.leave(KEY, f"run {number}")


async def test_what_was_loaded_is_the_runs_own(sessions: Sessions) -> None:
    with await take_turn(sessions, "run") as hold:
        await hold.save_state({"list": [1]})
        state = await hold.load_state()
        state["list"].append(2)
        assert await hold.load_state() == {"list": [1]}
        await hold.save_state(state)
        state["list"].append(3)
        assert await sessions.load_context_state(KEY) == {"list": [1, 2]}


async def test_states_by_name_and_the_runs_state_are_one_chain(sessions: Sessions) -> None:
    with await take_turn(sessions, "run") as hold:
        await hold.load_state()
        await sessions.save_session_state("s1", "ann", memory={"n": 1})
        await hold.save_state({"n": 2})
        await sessions.save_session_state("s1", "ann", memory={"n": 3}, plan={"n": 4})
        memory: dict[str, Any] = {}
        await sessions.load_session_state("s1", "ann", memory=memory)
        assert memory == {"n": 3}
    assert await sessions.load_context_state(KEY) == {"n": 2}


async def test_concurrent_saves_of_one_run_are_all_kept(sessions: Sessions) -> None:
    with anyio.fail_after(20), await take_turn(sessions, "run") as hold:
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                state: dict[str, Any] = {f"m{number}": {"n": number}}
                tasks.start_soon(
                    lambda state: sessions.save_session_state("s1", "ann", **state), state
                )
            tasks.start_soon(hold.save_state, {"n": "context"})
    loaded: dict[str, dict[str, Any]] = {f"m{number}": {} for number in range(8)}
    await sessions.load_session_state("s1", "ann", True, **loaded)
    assert loaded == {f"m{number}": {"n": number} for number in range(8)}
    assert await sessions.load_context_state(KEY) == {"n": "context"}


async def test_other_sessions_are_merged_as_ever(sessions: Sessions) -> None:
    with await take_turn(sessions, "run"):
        await sessions.save_session_state("other", "ann", memory={"n": 1})
        await sessions.save_session_state("s1", memory={"n": 1})
        memory: dict[str, Any] = {}
        await sessions.load_session_state("other", "ann", memory=memory)
        assert memory == {"n": 1}


# ---- zombies -------------------------------------------------------------------------------------


async def lose_turn(sessions: Sessions, ticket: str) -> SessionHold:
    """Hold the session, then be overtaken by `next`."""
    hold = await take_turn(sessions, ticket, lease_s=0.001)
    await hold.load_state()
    await anyio.sleep(0.01)
    assert (await sessions.lines.enter(KEY, "next", lease_s=60)).position == 0
    return hold


async def test_a_run_that_lost_its_turn_disturbs_nobody(sessions: Sessions) -> None:
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    with await lose_turn(sessions, "zombie") as zombie:
        # Nothing newer was saved, but somebody is at it.
        with pytest.raises(SessionConflictError, match="another call has the session's turn"):
            await zombie.save_state({"n": "zombie"})
        with pytest.raises(SessionConflictError):
            await sessions.save_session_state("s1", "ann", memory={"n": "zombie"})
    successor = sessions.hold(KEY, "next")
    assert await successor.load_state() == {}
    await successor.save_state({"n": 2})


async def test_a_run_that_lost_its_turn_overwrites_nothing(sessions: Sessions) -> None:
    with await lose_turn(sessions, "zombie") as zombie:
        successor = sessions.hold(KEY, "next")
        await successor.load_state()
        await successor.save_state({"n": 2})
        await sessions.lines.leave(KEY, "next")
        # The line is empty, so only the versions tell.
        for _ in range(2):
            with pytest.raises(SessionConflictError):
                await zombie.save_state({"n": "zombie"})
    assert await sessions.load_context_state(KEY) == {"n": 2}


async def test_a_run_whose_lease_ran_out_unseen_saves(sessions: Sessions) -> None:
    hold = await take_turn(sessions, "run", lease_s=0.001)
    await hold.load_state()
    await anyio.sleep(0.01)
    await hold.save_state({"n": 1})
    assert (await sessions.lines.renew(KEY, "run", lease_s=60)).position == 0


async def test_a_session_that_is_deleted_in_a_run_stays_deleted(sessions: Sessions) -> None:
    await sessions.save_context_state(KEY, {"n": 1})
    hold = await take_turn(sessions, "run")
    state = await hold.load_state()
    await sessions.delete(KEY)
    with pytest.raises(SessionConflictError):
        await hold.save_state({**state, "n": 2})
    assert await sessions.load_context_state(KEY) == {}


# ---- beside others -------------------------------------------------------------------------------


async def from_outside(sessions: Sessions, **modules: dict[str, Any]) -> None:
    """Save as a route of the host does: in a context without a hold."""

    async def save() -> None:
        await sessions.save_session_state("s1", "ann", **modules)

    async with anyio.create_task_group() as tasks:
        _ = contextvars.Context().run(tasks.start_soon, save)


async def test_what_others_save_under_other_names_is_kept() -> None:
    sessions = Sessions(MemoryStore())
    with await take_turn(sessions, "run") as hold:
        await hold.load_state()
        await sessions.save_session_state("s1", "ann", memory={"n": 1})
        await from_outside(sessions, notes={"n": 1})
        await hold.save_state({"n": 2})
    notes: dict[str, Any] = {}
    await sessions.load_session_state("s1", "ann", notes=notes)
    assert notes == {"n": 1}
    assert await sessions.load_context_state(KEY) == {"n": 2}


async def test_what_others_change_of_what_the_run_knows_is_a_conflict() -> None:
    sessions = Sessions(MemoryStore())
    await sessions.save_session_state("s1", "ann", memory={"n": 0})
    with await take_turn(sessions, "run") as hold:
        memory: dict[str, Any] = {}
        await sessions.load_session_state("s1", "ann", memory=memory)
        await from_outside(sessions, memory={"n": "theirs"})
        with pytest.raises(SessionConflictError, match="saved by somebody else"):
            await hold.save_state({"n": 2})
        with pytest.raises(SessionConflictError):
            await sessions.save_session_state("s1", "ann", memory={"n": "mine"})


async def test_runs_that_share_a_session_merge() -> None:
    sessions = Sessions(MemoryStore())
    one, other = sessions.hold(KEY, None), sessions.hold(KEY, None)
    await one.load_state()
    await other.load_state()
    with one:
        await sessions.save_session_state("s1", "ann", memory={"n": 1})
    await other.save_state({"n": 2})
    await one.save_state({"n": 3})
    assert await sessions.load_context_state(KEY) == {"n": 3}
    info = await sessions.describe(KEY)
    assert info is not None
    assert info.turns == 2


async def test_what_outlives_its_run_saves_like_anybody_else() -> None:
    sessions = Sessions(MemoryStore())
    go_on = anyio.Event()

    async def linger() -> None:
        await go_on.wait()
        await sessions.save_session_state("s1", "ann", memory={"n": "late"})

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            with await take_turn(sessions, "run") as hold:
                await hold.load_state()
                tasks.start_soon(linger)
                await anyio.lowlevel.checkpoint()
            await sessions.lines.leave(KEY, "run")
            successor = await take_turn(sessions, "next")
            await successor.save_state({"n": 1})
            go_on.set()
    memory: dict[str, Any] = {}
    await sessions.load_session_state("s1", "ann", memory=memory)
    assert memory == {"n": "late"}


async def test_a_hold_is_of_its_own_sessions_only() -> None:
    sessions, other = Sessions(MemoryStore()), Sessions(MemoryStore())
    with await take_turn(sessions, "run"):
        await other.save_session_state("s1", "ann", memory={"n": 1})
    assert await sessions.describe(KEY) is None
    assert await other.describe(KEY) is not None


# ---- saves that did not come to their end --------------------------------------------------------


class Interrupted(MemoryStore):
    """Fails after or before it has saved."""

    fails: str = ""

    async def save_in_turn(
        self, key: SessionKey, document: Any, version: str, ticket: str, /
    ) -> str:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise SessionError("lost the connection")
        version = await super().save_in_turn(key, document, version, ticket)
        if fails == "after":
            raise SessionError("lost the connection")
        return version


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_save_whose_answer_was_lost_is_no_conflict(when: str) -> None:
    store = Interrupted()
    sessions = Sessions(store)
    hold = await take_turn(sessions, "run")
    assert await hold.load_state() == {}
    store.fails = when
    with pytest.raises(SessionError, match="lost the connection"):
        await hold.save_state({"n": 1})
    await hold.save_state({"n": 2})
    assert await sessions.load_context_state(KEY) == {"n": 2}
    info = await sessions.describe(KEY)
    assert info is not None
    assert info.turns == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_save_whose_answer_was_lost_hides_no_other_writer(when: str) -> None:
    store = Interrupted()
    sessions = Sessions(store)
    hold = await take_turn(sessions, "run")
    await hold.load_state()
    store.fails = when
    with pytest.raises(SessionError, match="lost the connection"):
        await hold.save_state({"n": 1})
    document, version = await store.load(KEY)
    await store.save(KEY, {**(document or {}), "asgi_agentrt:state": {"n": "theirs"}}, version)
    with pytest.raises(SessionConflictError):
        await hold.save_state({"n": 2})


async def test_a_save_that_was_cancelled_is_followed_by_the_last_one(sessions: Sessions) -> None:
    """What a run that is cancelled while it saves does in the end."""
    hold = await take_turn(sessions, "run")
    await hold.load_state()
    for steps in range(12):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold.save_state, {"n": "x" * 10_000, "steps": steps})
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await hold.save_state({"last": steps})
        assert await sessions.load_context_state(KEY) == {"last": steps}


# ---- faults, and what is known of a session ------------------------------------------------------


async def test_what_is_no_state_is_refused_and_nothing_lost(sessions: Sessions) -> None:
    hold = await take_turn(sessions, "run")
    await hold.save_state({"n": 1})
    for state, text in [([], "of type list"), ({"n": {1}}, "ctx.state cannot be saved: n is of")]:
        with pytest.raises(SessionError, match=text):
            await hold.save_state(state)
    await hold.save_state({"n": 2})
    assert await sessions.load_context_state(KEY) == {"n": 2}


async def test_a_state_that_is_no_dict_is_corrupt() -> None:
    store = MemoryStore()
    await store.save(KEY, {"asgi_agentrt:state": [1]}, ABSENT)
    with pytest.raises(SessionCorruptError):
        await Sessions(store).hold(KEY, "run").load_state()


async def test_turns_are_the_runs_that_changed_something(sessions: Sessions) -> None:
    assert await sessions.describe(KEY) is None
    for number in range(3):
        with await take_turn(sessions, f"run {number}") as hold:
            await hold.load_state()
            await sessions.save_session_state("s1", "ann", memory={"n": number})
            await hold.save_state({"n": min(number, 1)})
        await sessions.lines.leave(KEY, f"run {number}")
    with await take_turn(sessions, "idle") as hold:
        await hold.save_state(await hold.load_state())
    info = await sessions.describe(KEY)
    assert info is not None
    size = len('{"memory":{"n":2},"asgi_agentrt:state":{"n":1}}')
    assert (info.turns, info.state_bytes) == (3, size)
    assert info.last_used is not None
    assert info.last_used > 1.7e9
    await sessions.delete(KEY)
    assert await sessions.describe(KEY) is None


async def test_what_others_saved_has_no_turns() -> None:
    store = MemoryStore()
    sessions = Sessions(store)
    await store.save(KEY, {"memory": {}}, ABSENT)
    assert await sessions.describe(KEY) == SessionInfo(len('{"memory":{}}'), 0, None)
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    info = await sessions.describe(KEY)
    assert info is not None
    assert (info.turns, info.last_used is None) == (0, False)


async def test_names_that_a_store_has_to_be_asked_for_are_asked_for() -> None:
    inner = DictSession()
    inner.held["ann", "s1"] = '{"memory": {"n": 1}, "plan": {"n": 2}}'
    sessions = Sessions(AgentScopeStore(inner))
    with await take_turn(sessions, "run") as hold:
        assert await hold.load_state() == {}
        memory: dict[str, Any] = {}
        plan: dict[str, Any] = {}
        await sessions.load_session_state("s1", "ann", memory=memory)
        await sessions.load_session_state("s1", "ann", plan=plan)
        assert (memory, plan) == ({"n": 1}, {"n": 2})
        await hold.save_state({"n": 3})
    await sessions.load_session_state("s1", "ann", memory=memory, plan=plan)
    assert (memory, plan) == ({"n": 1}, {"n": 2})
