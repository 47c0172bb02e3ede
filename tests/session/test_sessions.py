"""`runtime.session` and `ctx.state`: by name, side by side, nothing lost."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from asgi_agentrt._session import SessionKey, Sessions, SessionStore, Stored, Version, make_key
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt.exceptions import SessionConflictError, SessionCorruptError, SessionError

from .doubles import Agent, StateModule

KEY = make_key("s1", "ann")


@pytest.fixture
def sessions(store: SessionStore) -> Sessions:
    return Sessions(store)


async def test_each_name_keeps_its_own_state(sessions: Sessions) -> None:
    await sessions.save_session_state("s1", "ann", memory={"n": 1}, plan=StateModule(steps=["a"]))
    await sessions.save_session_state("s1", "ann", memory={"n": 2})
    memory: dict[str, Any] = {"stale": True}
    plan = StateModule(steps=[])
    await sessions.load_session_state("s1", "ann", memory=memory, plan=plan, unknown={"kept": 1})
    assert memory == {"n": 2}
    assert plan.state_dict() == {"steps": ["a"]}


async def test_context_state_and_modules_do_not_lose_each_other(sessions: Sessions) -> None:
    await sessions.save_context_state(KEY, {"visits": 1})
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    await sessions.save_context_state(KEY, {"visits": 2})
    memory: dict[str, Any] = {}
    await sessions.load_session_state("s1", "ann", memory=memory)
    assert memory == {"n": 1}
    assert await sessions.load_context_state(KEY) == {"visits": 2}


async def test_concurrent_saves_of_other_names_are_all_kept(sessions: Sessions) -> None:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                state = {"n": number}
                tasks.start_soon(
                    lambda name, state: sessions.save_session_state("s1", "ann", **{name: state}),
                    f"m{number}",
                    state,
                )
            tasks.start_soon(sessions.save_context_state, KEY, {"n": "context"})
    loaded: dict[str, dict[str, Any]] = {f"m{number}": {} for number in range(8)}
    await sessions.load_session_state("s1", "ann", True, **loaded)
    assert loaded == {f"m{number}": {"n": number} for number in range(8)}
    assert await sessions.load_context_state(KEY) == {"n": "context"}


async def test_a_new_session_has_an_empty_context_state(sessions: Sessions) -> None:
    assert await sessions.load_context_state(KEY) == {}


async def test_a_context_state_can_become_empty_again(sessions: Sessions) -> None:
    await sessions.save_context_state(KEY, {"n": 1})
    await sessions.save_context_state(KEY, {})
    assert await sessions.load_context_state(KEY) == {}


async def test_a_missing_session_is_an_error_only_if_asked_for(sessions: Sessions) -> None:
    memory = {"kept": True}
    await sessions.load_session_state("s1", memory=memory)
    assert memory == {"kept": True}
    with pytest.raises(ValueError, match='no session "s1"'):
        await sessions.load_session_state("s1", allow_not_exist=False, memory=memory)
    await sessions.save_session_state("s1", memory={})
    await sessions.load_session_state("s1", "", False, memory=memory)
    assert memory == {}


async def test_a_deleted_session_is_gone(sessions: Sessions) -> None:
    await sessions.save_context_state(KEY, {"n": 1})
    await sessions.delete_session("s1", "ann")
    assert await sessions.load_context_state(KEY) == {}


async def test_what_is_saved_is_the_state_of_that_moment(sessions: Sessions) -> None:
    """The app changes its objects while the save is under way."""
    memory: dict[str, Any] = {"list": ["x" * 100] * 5000}
    async with anyio.create_task_group() as tasks:

        async def change() -> None:
            while True:
                memory["list"].append("more")
                memory[f"key {len(memory)}"] = {}
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(change)
        await anyio.lowlevel.checkpoint()
        before = len(memory["list"])
        await sessions.save_session_state("s1", "ann", memory=memory)
        tasks.cancel_scope.cancel()
    loaded: dict[str, Any] = {}
    await sessions.load_session_state("s1", "ann", memory=loaded)
    assert len(loaded["list"]) == before
    assert len(loaded) - 1 == before - 5000


@pytest.mark.parametrize("session_id", ["", "x" * 257, "a\nb", "\ud800", 7])
async def test_ids_are_checked_here_too(sessions: Sessions, session_id: Any) -> None:
    with pytest.raises(ValueError, match="session_id"):
        await sessions.save_session_state(session_id, memory={})
    with pytest.raises(ValueError, match="session_id"):
        await sessions.load_session_state(session_id, memory={})
    with pytest.raises(ValueError, match="user_id"):
        await sessions.load_session_state("s", "\0", memory={})


async def test_reserved_names_are_refused(sessions: Sessions) -> None:
    reserved: dict[str, Any] = {"asgi_agentrt:state": {}}
    with pytest.raises(ValueError, match="reserved"):
        await sessions.save_session_state("s1", user_id="", **reserved)


async def test_what_has_no_state_is_named(sessions: Sessions) -> None:
    with pytest.raises(TypeError, match=r"^memory: object has no state to keep"):
        await sessions.save_session_state("s1", memory=object())
    await sessions.save_session_state("s1", memory={"n": 1})
    with pytest.raises(TypeError, match=r"^memory: object has no state to keep"):
        await sessions.load_session_state("s1", memory=object())


async def test_what_is_not_json_is_named_and_the_old_state_kept(sessions: Sessions) -> None:
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    with pytest.raises(SessionError, match=r'"memory" cannot be saved: a\[0\] is of type set'):
        await sessions.save_session_state("s1", "ann", memory={"a": [set()]})
    with pytest.raises(SessionError, match=r"^ctx\.state cannot be saved: n is of type object"):
        await sessions.save_context_state(KEY, {"n": object()})
    with pytest.raises(SessionError, match=r"^ctx\.state is of type list"):
        await sessions.save_context_state(KEY, [])
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(SessionError, match="nested too deeply"):
        await sessions.save_context_state(KEY, loop)
    with pytest.raises(SessionError, match="nested too deeply"):
        await sessions.save_session_state("s1", "ann", memory=loop)
    memory: dict[str, Any] = {}
    await sessions.load_session_state("s1", "ann", memory=memory)
    assert memory == {"n": 1}
    assert sessions.state == "up"


async def test_a_state_that_does_not_fit_names_its_module(sessions: Sessions) -> None:
    await sessions.save_session_state("s1", agent={"inner": "text"})
    agent = Agent(inner=StateModule(n=1))
    with pytest.raises(SessionError, match=r"^agent: "):
        await sessions.load_session_state("s1", agent=agent)
    assert agent.state_dict() == {"inner": {"n": 1}}


async def test_state_is_of_its_user(sessions: Sessions) -> None:
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    other: dict[str, Any] = {}
    for session_id, user_id in (("s1", ""), ("s1", "bob"), ("ann_s1", ""), ("ann@s1", "")):
        await sessions.load_session_state(session_id, user_id, memory=other)
    assert other == {}


# ---- the store's faults --------------------------------------------------------------------------


class FaultyStore(MemoryStore):
    """Fails as often as it is told to, and counts."""

    def __init__(self, *, conflicts: int = 0) -> None:
        super().__init__()
        self.conflicts = conflicts
        self.error: SessionError | None = None
        self.saves = 0

    async def load(self, key: SessionKey, /, *, names: Any = ()) -> Stored:
        if self.error:
            raise self.error
        return await super().load(key, names=names)

    async def save(self, key: SessionKey, document: Any, version: Version, /) -> Version:
        self.saves += 1
        if self.conflicts:
            self.conflicts -= 1
            raise SessionConflictError("taken")
        return await super().save(key, document, version)


async def test_a_conflict_is_tried_again() -> None:
    store = FaultyStore(conflicts=5)
    with anyio.fail_after(10):
        await Sessions(store).save_context_state(KEY, {"n": 1})
    assert store.saves == 6
    assert await Sessions(store).load_context_state(KEY) == {"n": 1}


async def test_conflicts_without_end_are_given_up() -> None:
    store = FaultyStore(conflicts=1000)
    with anyio.fail_after(30), pytest.raises(SessionConflictError):
        await Sessions(store).save_session_state("s1", memory={})
    assert 5 < store.saves < 100


async def test_what_did_not_change_is_not_written() -> None:
    store = FaultyStore()
    sessions = Sessions(store)
    await sessions.save_context_state(KEY, {})
    assert store.saves == 0
    await sessions.save_context_state(KEY, {"n": 1})
    await sessions.save_context_state(KEY, {"n": 1})
    assert store.saves == 1
    await sessions.save_context_state(KEY, {"n": True})
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    assert store.saves == 3


async def test_health_tells_whether_the_store_is_up(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore()
    sessions = Sessions(store)
    assert (sessions.state, sessions.reason) == ("up", None)
    store.error = SessionError("the disk is gone")
    for _ in range(3):
        with pytest.raises(SessionError):
            await sessions.load_context_state(KEY)
    assert (sessions.state, sessions.reason) == ("down", "the disk is gone")
    assert caplog.text.count("the session store is down: the disk is gone") == 1
    store.error = SessionCorruptError("this one file")
    with pytest.raises(SessionCorruptError):
        await sessions.load_context_state(KEY)
    store.error = None
    await sessions.delete_session("s1")
    assert (sessions.state, sessions.reason) == ("up", None)


async def test_a_context_state_that_is_no_dict_is_corrupt() -> None:
    store = MemoryStore()
    await store.save(KEY, {"asgi_agentrt:state": [1]}, "")
    with pytest.raises(SessionCorruptError):
        await Sessions(store).load_context_state(KEY)
