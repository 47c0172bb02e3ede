"""Session files shared with AgentScope 1.x's own JSONSession, and its classes as backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._agentscope import installed_generation
from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import Sessions, make_key, open_store

from .test_state import agent_1, remember_1, remembered_1

pytestmark = pytest.mark.skipif(installed_generation() != 1, reason="needs AgentScope 1.x")


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
