"""Session files shared with AgentScope 1.x's own JSONSession, and its classes as backends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._agentscope import installed_generation
from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import Sessions, SessionStore, make_key, open_store
from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt.testing import SESSION_STORE_CHECKS, Check, OpenStore
from tests.support.redis_server import RedisServer, needs_redis, redis_server

from .test_state import agent_1, remember_1, remembered_1

pytestmark = pytest.mark.skipif(installed_generation() != 1, reason="needs AgentScope 1.x")


@pytest.fixture(scope="module")
def redis() -> Generator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
def json_session(tmp_path: Path) -> Any:
    from agentscope.session import JSONSession

    return JSONSession(save_dir=str(tmp_path / "sessions"))


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))


@pytest.mark.parametrize(("session_id", "user_id"), [("s1", ""), ("7F0C-41", "ann")])
async def test_sessions_that_agentscope_saved_are_loaded(
    json_session: Any, tmp_path: Path, session_id: str, user_id: str
) -> None:
    agent = agent_1("a", "p")
    await remember_1(agent, "hello", "wörld \ud83d")
    await json_session.save_session_state(session_id, user_id=user_id, agent=agent)
    async with open_store(SessionConfig(), tmp_path) as store:
        sessions = Sessions(store)
        new = agent_1("a", "p")
        await sessions.load_session_state(session_id, user_id, False, agent=new)
        assert await remembered_1(new) == ["hello", "wörld \ud83d"]
        # What is saved first does not lose the rest.
        await sessions.save_context_state(make_key(session_id, user_id), {"n": 1})
        newest = agent_1("a", "p")
        await sessions.load_session_state(session_id, user_id, agent=newest)
        assert await remembered_1(newest) == ["hello", "wörld \ud83d"]


async def test_agentscope_loads_what_we_saved(json_session: Any, tmp_path: Path) -> None:
    agent = agent_1("a", "p")
    await remember_1(agent, "hello")
    async with open_store(SessionConfig(), tmp_path) as store:
        await Sessions(store).save_session_state("s1", "ann", agent=agent, plain={"n": 1})
    new = agent_1("b", "q")
    await json_session.load_session_state("ann@s1", allow_not_exist=False, agent=new)
    assert await remembered_1(new) == ["hello"]


async def test_what_agentscope_saves_over_our_file_is_loaded(
    json_session: Any, tmp_path: Path
) -> None:
    agent = agent_1("a", "p")
    async with open_store(SessionConfig(), tmp_path) as store:
        sessions = Sessions(store)
        await sessions.save_session_state("s1", "ann", agent=agent)
        await remember_1(agent, "hello")
        await json_session.save_session_state("ann@s1", agent=agent)
        new = agent_1("a", "p")
        await sessions.load_session_state("s1", "ann", agent=new)
        assert await remembered_1(new) == ["hello"]
        await sessions.save_session_state("s1", "ann", agent=new, more={"n": 1})


async def test_agentscopes_class_is_a_backend(tmp_path: Path) -> None:
    config = SessionConfig(backend="agentscope.session:JSONSession", save_dir="theirs")
    async with open_store(config, tmp_path) as store:
        sessions = Sessions(store)
        agent = agent_1("a", "p")
        await remember_1(agent, "hello")
        await sessions.save_session_state("s1", "ann", agent=agent)
        await sessions.save_context_state(make_key("s1", "ann"), {"n": 1})
        await sessions.save_session_state("../evil", agent=agent)
        new = agent_1("a", "p")
        await sessions.load_session_state("s1", "ann", agent=new)
        assert await remembered_1(new) == ["hello"]
        assert await sessions.load_context_state(make_key("s1", "ann")) == {"n": 1}
    assert files_below(tmp_path) == ["theirs/%2e%2e%2fevil.json", "theirs/ann_s1.json"]


# ---- AgentScope's classes as backends, by the checks for any backend -----------------------------


def wrapped(backend: str, **options: Any) -> OpenStore:
    config = SessionConfig(backend=f"agentscope.session:{backend}", **options)
    return lambda: open_store(config, Path("/nowhere"))


@pytest.mark.parametrize("check", SESSION_STORE_CHECKS, ids=lambda it: it.__name__)
async def test_agentscopes_files_keep_sessions_when_wrapped(check: Check, tmp_path: Path) -> None:
    if check.__name__ == "check_hostile_ids":
        pytest.skip('one file for session "c" of user "a_b" and "b_c" of "a": an error, no leak')
    await check(wrapped("JSONSession", save_dir=str(tmp_path)))


@needs_redis
@pytest.mark.parametrize("check", SESSION_STORE_CHECKS, ids=lambda it: it.__name__)
async def test_agentscopes_redis_keeps_sessions_when_wrapped(
    check: Check, redis: RedisServer
) -> None:
    from agentscope.session import RedisSession
    from redis.asyncio import ConnectionPool

    @asynccontextmanager
    async def open_it() -> AsyncGenerator[SessionStore]:
        pool = ConnectionPool.from_url(redis.url, decode_responses=True)
        # Not closed by the store: its own `close` calls what redis-py has deprecated.
        yield AgentScopeStore(RedisSession(connection_pool=pool))
        await pool.aclose()

    await check(open_it)


async def test_a_run_holds_a_session_of_agentscopes_class(tmp_path: Path) -> None:
    """Its line is kept in this process: the class keeps none."""
    async with wrapped("JSONSession", save_dir=str(tmp_path))() as store:
        sessions = Sessions(store)
        key = make_key("s1", "ann")
        for number in range(2):
            await sessions.lines.enter(key, f"run {number}", lease_s=60)
            with sessions.hold(key, f"run {number}") as hold:
                assert await hold.load_state() == ({"n": 0} if number else {})
                await sessions.save_session_state("s1", "ann", memory={"n": number})
                await hold.save_state({"n": number})
            await sessions.lines.leave(key, f"run {number}")
        info = await sessions.describe(key)
        assert info is not None
        assert info.turns == 2
