"""What runs have for themselves, and what a reload leaves to the runs of before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from asgi_agentrt import AgentApp, SessionContext, runtime
from asgi_agentrt.agentscope import stream_agent
from asgi_agentrt.exceptions import StartupError
from tests.support import driver
from tests.support.mcp_harness import exists
from tests.support.scripted_llm import ScriptedLLM

from .invoking import (
    GENERATION,
    answer_of,
    calling,
    configure,
    here,
    invoke,
    model,
    project,
    stdio,
    tool_name,
    until,
)

pytestmark = [
    pytest.mark.skipif(not GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


async def test_what_a_run_adds_to_its_toolkit_no_other_run_sees(tmp_path: Path) -> None:
    folder = project(tmp_path, {"mcp_servers": {"calc": stdio()}}, "tools")
    async with here(folder) as agent:
        async with driver.open_stream(agent, driver.invocation("s1", "add")) as first:
            adding = (await first.next_event())["content"]
            other = (await invoke(agent, "look", "s2")).messages
            adding_later = (await first.next_event())["content"]
            await first.ended()
        later = (await invoke(agent, "look", "s1")).messages
        shared = agent.runtime.tools
    assert "secret" in adding
    assert adding_later == adding
    for message in (*other, *later):
        assert tool_name("calc", "add") in message["content"]
        assert "secret" not in message["content"]
        assert "mine" not in message["content"]
    assert "secret" not in str(vars(shared))


class Patient(AgentApp):
    """Asks its model, when the test lets it, to call a tool; says which model it has."""

    def __init__(self) -> None:
        self.may_go_on = anyio.Event()

    async def __call__(self, msg: Any, ctx: SessionContext) -> AsyncIterator[Any]:
        yield "waiting"
        if ctx.metadata.get("waits"):
            await self.may_go_on.wait()
        async for chunk in stream_agent(make_agent(), msg):
            yield chunk


def make_agent() -> Any:
    if GENERATION == 1:
        from agentscope.agent import ReActAgent
        from agentscope.formatter import OpenAIChatFormatter

        chat = OpenAIChatFormatter()
        return ReActAgent("bot", "You help.", runtime.models.main, chat, runtime.tools)
    from agentscope.agent import Agent

    return Agent("bot", "You help.", runtime.models.main, runtime.tools)


async def test_a_run_ends_on_the_models_and_servers_that_it_began_with(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    old_model = calling("calc", "pid", scripted.base_url)
    new_model = model("say:New.", scripted.base_url)
    old = {"models": {"main": old_model}, "mcp_servers": {"calc": stdio()}}
    app = Patient()
    async with here(project(tmp_path, old), app) as agent:
        request = driver.invocation("s1", metadata={"waits": True})
        pids = [(await invoke(agent, session="s0")).result]
        async with driver.open_stream(agent, request) as running:
            await running.next_event()
            configure(tmp_path, {"models": {"main": new_model}})
            await agent.reload()
            assert (await invoke(agent, session="s2")).text == "waitingNew."
            configure(tmp_path, {**old, "mcp_servers": {"calc": stdio(call_timeout=50)}})
            await agent.reload()
            pids.append((await invoke(agent, session="s3")).result)
            assert not running.is_over
            app.may_go_on.set()
            await running.ended()
            answer = answer_of(running.content)
        assert answer.text == "waitingDone."
        assert answer.result == pids[0]
        assert pids[0] != pids[1]
        await anyio.to_thread.run_sync(until, lambda: not exists(pids[0]), "the old server's end")
        assert exists(pids[1])
        assert agent.runtime.status == "healthy"
    assert not exists(pids[1])


async def test_an_mcp_server_that_a_reload_does_not_change_stays_as_it_is(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    """Its process, too; in the middle of a run as well."""
    old = {
        "models": {"main": calling("calc", "pid", scripted.base_url)},
        "mcp_servers": {"calc": stdio()},
    }
    app = Patient()
    async with here(project(tmp_path, old), app) as agent:
        request = driver.invocation("s1", metadata={"waits": True})
        async with driver.open_stream(agent, request) as running:
            await running.next_event()
            configure(tmp_path, {**old, "server": {"ping_interval": 5}})
            await agent.reload()
            pid = (await invoke(agent, session="s2")).result
            app.may_go_on.set()
            await running.ended()
            assert answer_of(running.content).result == pid
        await agent.reload()
        assert (await invoke(agent, session="s3")).result == pid
    assert not exists(pid)


async def test_a_reload_whose_mcp_server_is_down_leaves_everything_as_it_was(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    old = {
        "models": {"main": calling("calc", "add", scripted.base_url, a=2, b=3)},
        "mcp_servers": {"calc": stdio()},
    }
    async with here(project(tmp_path, old)) as agent:
        configure(
            tmp_path,
            {**old, "mcp_servers": {"calc": stdio(), "other": stdio(command="/no/such")}},
        )
        with pytest.raises(StartupError, match=r"mcp_servers\.other: command not found"):
            await agent.reload()
        assert agent.runtime.status == "healthy"
        assert (await invoke(agent)).result == "5"
