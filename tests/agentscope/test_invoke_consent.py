"""AgentScope 2.x: the configuration says which tools an agent may use without its user's consent.

Every turn is a new agent that is restored from the session, as it is in a server.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt import AgentRuntimeASGI
from tests.support import driver
from tests.support.scripted_llm import ScriptedLLM

from .invoking import (
    GENERATION,
    Answer,
    answer_of,
    calling,
    here,
    invoke,
    model,
    project,
    stdio,
    tool_name,
)

pytestmark = [
    pytest.mark.skipif(GENERATION != 2, reason="needs AgentScope 2.x"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@contextlib.asynccontextmanager
async def asking(
    folder: Path, llm: ScriptedLLM, permission: str = "ask", script: str = "", **more: Any
) -> AsyncGenerator[AgentRuntimeASGI]:
    """Serve an agent that calls `add` of a server with this permission."""
    main = calling("calc", "add", llm.base_url, a=2, b=3)
    if script:
        main = model(script, llm.base_url)
    config = {
        "models": {"main": main, "say": model("say:As you like.", llm.base_url)},
        "mcp_servers": {"calc": stdio(permission=permission), **more},
        "session": {"backend": "json"},
    }
    async with here(project(folder, config)) as agent:
        yield agent


async def ask(agent: AgentRuntimeASGI, text: str = "Add!") -> Any:
    """Begin a turn that ends with a question; returns the calls that it is about."""
    answer = await invoke(agent, text)
    assert not answer.failed
    assert answer.text == ""
    assert answer.blocks("tool_result") == []
    for message in answer.messages[:-1]:
        assert "confirm" not in message["metadata"]
    assert answer.confirm
    return answer.confirm


async def reply(agent: AgentRuntimeASGI, *answers: tuple[Any, bool]) -> Answer:
    """Answer the question without a message."""
    confirm = [{"id": call["id"], "confirmed": confirmed} for call, confirmed in answers]
    body = {"session_id": "s1", "confirm": confirm}
    request = driver.Request([json.dumps(body).encode()])
    exchange = await driver.call(agent, request)
    assert exchange.status == 200, exchange.content
    return answer_of(exchange.content)


async def test_a_call_that_needs_consent_ends_the_stream_with_the_question(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        [call] = await ask(agent)
    assert call["name"] == tool_name("calc", "add")
    assert json.loads(call["input"]) == {"a": 2, "b": 3}
    assert set(call) == {"id", "name", "input"}


async def test_with_consent_the_call_runs_and_the_turn_goes_on(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        [call] = await ask(agent)
        answer = await reply(agent, (call, True))
        assert not answer.failed
        assert answer.result == "5"
        assert answer.text == "Done."
        assert answer.blocks("tool_result")[0]["id"] == call["id"]
        # The next turn is as any other; consent was given to one call.
        await ask(agent, "Again!")


async def test_a_refused_call_does_not_run_and_the_turn_goes_on(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        [call] = await ask(agent)
        answer = await reply(agent, (call, False))
        assert not answer.failed
        assert answer.result != "5"
        assert answer.text == "Done."


async def test_a_message_instead_of_an_answer_gives_the_call_up(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        await ask(agent)
        answer = await invoke(agent, "Never mind!", metadata={"model": "say"})
        assert not answer.failed
        assert answer.text == "As you like."
        assert "Never mind!" in str(scripted.requests[-1]["messages"])
        [call] = await ask(agent)
        assert (await reply(agent, (call, True))).result == "5"


async def test_an_answer_to_another_call_gives_it_up_as_well(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        [call] = await ask(agent)
        answer = await invoke(
            agent,
            metadata={"model": "say"},
            confirm=[{"id": "another", "confirmed": True}],
        )
        assert answer.text == "As you like."
        assert (await reply(agent, (call, True))).blocks("tool_result") == []


async def test_what_is_no_answer_is_refused_and_the_question_stays_open(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        [call] = await ask(agent)
        half = {"id": call["id"]}
        wrongs: list[list[Any]] = [[1], [{}], [half], [{**half, "confirmed": "yes"}]]
        for wrong in wrongs:
            request = driver.invocation("s1", accept="application/json", confirm=wrong)
            exchange = await driver.call(agent, request)
            assert exchange.status == 400, exchange.content
            assert exchange.error_code == "INVALID_REQUEST"
        assert (await reply(agent, (call, True))).result == "5"


async def test_the_calls_of_a_round_are_asked_for_until_each_has_its_answer(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    adding = {"name": tool_name("calc", "add"), "arguments": {"a": 2, "b": 3}}
    script = "calls:" + json.dumps([adding] * 3)
    async with asking(tmp_path, scripted, script=script) as agent:
        open_calls = await ask(agent)
        answered = set()
        for consent in (True, False, True):
            call = open_calls[-1]
            assert call["id"] not in answered
            answered.add(call["id"])
            answer = await reply(agent, (call, consent))
            assert not answer.failed
            assert answer.text == ("Done." if len(answered) == 3 else "")
            open_calls = answer.confirm
        assert open_calls is None
        history = scripted.requests[-1]["messages"]
        results = [message["content"] for message in history if message["role"] == "tool"]
        assert len(results) == 3
        assert ["5" in str(result) for result in results].count(True) == 2


@pytest.mark.parametrize(("permission", "runs"), [("allow", True), ("deny", False)])
async def test_the_configuration_may_answer_for_the_user(
    tmp_path: Path, scripted: ScriptedLLM, permission: str, runs: bool
) -> None:
    async with asking(tmp_path, scripted, permission) as agent:
        answer = await invoke(agent)
    assert not answer.failed
    assert answer.confirm is None
    assert (answer.result == "5") is runs
    assert answer.text == "Done."


async def test_permissions_are_each_servers_own(tmp_path: Path, scripted: ScriptedLLM) -> None:
    calls = [
        {"name": tool_name(server, "add"), "arguments": {"a": 2, "b": 3}}
        for server in ("calc", "free")
    ]
    script = "calls:" + json.dumps(calls)
    async with asking(tmp_path, scripted, script=script, free=stdio()) as agent:
        answer = await invoke(agent)
        [call] = answer.confirm
        assert call["name"] == tool_name("calc", "add")
        answer = await reply(agent, (call, True))
        assert answer.text == "Done."


async def test_consent_may_come_to_a_restarted_server(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    async with asking(tmp_path, scripted) as agent:
        [call] = await ask(agent)
    async with asking(tmp_path, scripted) as agent:
        assert (await reply(agent, (call, True))).result == "5"
