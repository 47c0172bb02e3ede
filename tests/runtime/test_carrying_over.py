"""What a reload takes over from the generation before, and what it opens anew."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentRuntimeASGI, Msg, SessionContext
from asgi_agentrt._config import ModelConfig
from asgi_agentrt.exceptions import StartupError
from tests.support.driver import LIMIT_S, call, invocation, open_stream, texts

RECORD: list[str] = []


class Model:
    """A plug-in model that keeps a record of its life."""

    def __init__(self, config: ModelConfig) -> None:
        if config.model == "broken":
            raise ConnectionError("no such model")
        self.name = config.model
        RECORD.append(f"open {self.name}")

    async def aclose(self) -> None:
        RECORD.append(f"close {self.name}")


def write(folder: Path, **models: str) -> None:
    slots = {
        slot: {"provider": f"{__name__}:Model", "model": name} for slot, name in models.items()
    }
    config = {"models": slots, "session": {"backend": "memory"}, "server": {"drain_timeout": 5}}
    (folder / "agentapp.yaml").write_text(json.dumps(config))  # which is YAML as well


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., AgentRuntimeASGI]:
    RECORD.clear()

    def make(app: Any, **models: str) -> AgentRuntimeASGI:
        write(tmp_path, **models)
        return AgentRuntimeASGI(tmp_path, app=app)

    return make


async def remember(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield str(ctx.state["turns"])
    if msg.content == "wait":
        await anyio.sleep_forever()


async def closed(name: str) -> None:
    with anyio.fail_after(LIMIT_S):
        while f"close {name}" not in RECORD:  # noqa: ASYNC110  nobody announces it
            await anyio.sleep(0.001)


async def test_what_did_not_change_stays_open(
    make: Callable[..., AgentRuntimeASGI], tmp_path: Path
) -> None:
    agent = make(remember, main="a", other="b")
    async with agent.lifespan():
        write(tmp_path, main="a", other="c")
        await agent.reload()
        await closed("b")
        assert RECORD == ["open a", "open b", "open c", "close b"]
        assert agent.runtime.models.main.name == "a"
        assert agent.runtime.models.other.name == "c"
    assert RECORD[4:] == ["close c", "close a"]


async def test_sessions_in_memory_outlive_a_reload(make: Callable[..., AgentRuntimeASGI]) -> None:
    agent = make(remember)
    async with agent.lifespan():
        for turn in range(1, 4):
            assert texts((await call(agent, invocation())).events) == [str(turn)]
            await agent.reload()


async def test_a_session_that_is_busy_before_a_reload_is_busy_after_it(
    make: Callable[..., AgentRuntimeASGI],
) -> None:
    agent = make(remember)
    async with agent.lifespan(), open_stream(agent, invocation(content="wait")) as first:
        await first.next_event()
        await agent.reload()
        async with open_stream(agent, invocation()) as second:
            await anyio.wait_all_tasks_blocked()
            assert second.events == []
            first.leave()
            assert (await second.next_event())["content"] == "2"


async def test_a_reload_that_fails_closes_what_it_opened_and_nothing_else(
    make: Callable[..., AgentRuntimeASGI], tmp_path: Path
) -> None:
    agent = make(remember, main="a")
    async with agent.lifespan():
        write(tmp_path, main="a", new="n", bad="broken")
        with pytest.raises(StartupError, match=r"models\.bad"):
            await agent.reload()
        assert RECORD == ["open a", "open n", "close n"]
        assert texts((await call(agent, invocation())).events) == ["1"]
    assert RECORD[3:] == ["close a"]


async def test_fifty_reloads_open_nothing_twice(make: Callable[..., AgentRuntimeASGI]) -> None:
    agent = make(remember, main="a")
    async with agent.lifespan():
        for _ in range(50):
            await agent.reload()
        assert agent.runtime.generation is not None
        assert agent.runtime.generation.number == 51
        assert texts((await call(agent, invocation())).events) == ["1"]
    assert RECORD == ["open a", "close a"]
