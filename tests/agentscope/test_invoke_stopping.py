"""A real agent's run that is cancelled, at whatever moment: it ends, and its session goes on."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentRuntimeASGI
from asgi_agentrt._run import Invocation
from tests.support.scripted_llm import ScriptedLLM

from .invoking import (
    GENERATION,
    LIMIT_S,
    calling,
    here,
    invoke,
    model,
    project,
    served,
    stdio,
    tool_name,
)
from .test_stopping import Counted, nothing_but

pytestmark = [
    pytest.mark.skipif(not GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # AgentScope 1.x makes the coroutines of a round's calls at once and drops those not reached.
    pytest.mark.filterwarnings("ignore:coroutine .ReActAgent._acting. was never awaited"),
]

TWO_CALLS = "calls:" + json.dumps(
    [
        {"name": tool_name("calc", "add"), "arguments": {"a": 1, "b": 2}},
        {"name": tool_name("calc", "add"), "arguments": {"a": 3, "b": 4}},
    ]
)


async def cancel_at(agent: AgentRuntimeASGI, number: int, session: str) -> tuple[bool, float]:
    """Run a turn and cancel it when its tasks have waited this often.

    Returns whether the turn was over before that, and the seconds that ending took.
    """
    loop = asyncio.get_running_loop()
    waits, cancelled_at = 0, time.monotonic()

    def on_wait() -> None:
        nonlocal waits, cancelled_at
        waits += 1
        if waits == number + 1:
            cancelled_at = time.monotonic()
            loop.call_soon(run.cancel, "disconnected")

    loop.set_task_factory(
        lambda loop, coro, **options: asyncio.Task(Counted(coro, on_wait), loop=loop, **options)
    )
    try:
        message = {"name": "user", "content": "first words", "role": "user", "metadata": {}}
        run = await agent.runtime.invoke(Invocation(session, message))
        heard = run.log.subscribe()
        events = []
        with anyio.fail_after(LIMIT_S):
            while not heard.is_over:
                await heard.wait()
                events += heard.take()
    finally:
        loop.set_task_factory(None)
    seconds = time.monotonic() - cancelled_at
    assert [event.kind for event in events].count("done") == 1
    assert events[-1].kind == "done"
    assert ("error" in events[-1].body["metadata"]) == (run.error is not None)
    return waits <= number, seconds


async def test_a_run_cancelled_at_any_of_its_waits_leaves_nothing_and_a_sound_session(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    """The model refuses a history in which a call has no result, so the second turn tells."""
    config = {
        "models": {"main": model(TWO_CALLS, scripted.base_url)},
        "mcp_servers": {"calc": stdio()},
    }
    number, remembered = 0, 0
    async with here(project(tmp_path, config)) as agent:
        assert not (await invoke(agent)).failed
        while True:
            session = f"cancelled {number}"
            before = asyncio.all_tasks()
            over, seconds = await cancel_at(agent, number, session)
            if over:
                break
            assert seconds < 2, number
            assert await nothing_but(before), number
            scripted.requests.clear()
            answer = await invoke(agent, "second words", session)
            assert not answer.failed, number
            assert answer.text == "Done.", number
            assert len(answer.blocks("tool_result")) == 2, number
            remembered += "first words" in str(scripted.requests[0]["messages"])
            number += 1
        assert agent.runtime.status == "healthy"
    assert number > 20
    assert remembered > number / 2, number


def test_a_client_that_leaves_at_any_part_of_an_answer_ends_its_run_only(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    """Over real connections; the state is saved, loaded by the next turn and of use to it."""
    tools = [("add", {"a": 1, "b": 2}), ("slow", {"seconds": 0.2})]
    rounds = [{"call": [tool_name("calc", tool), given]} for tool, given in tools]
    said = "Here is a long answer to your short question."
    config: dict[str, Any] = {
        "models": {
            "main": model("turns:" + json.dumps([*rounds, {"say": said}]), scripted.base_url)
        },
        "mcp_servers": {"calc": stdio()},
        "session": {"backend": "json"},
    }
    with served(project(tmp_path, config)) as server:
        whole = server.invoke()
        assert whole.text == said
        for number in range(len(whole.messages) + 1):
            session = f"left-{number}"
            with server.stream("first words", session) as response:
                parts = response.iter_raw()
                stream = b""
                while stream.count(b"\n\n") < number:
                    stream += next(parts)
            if number:  # before the first part, the app may not have been called yet
                server.process.expect(f"run of {session} ended: ", limit_s=2)
            scripted.requests.clear()
            answer = server.invoke("second words", session)
            assert not answer.failed, number
            assert answer.text == said
            assert not number or "first words" in str(scripted.requests[0]["messages"]), number
    assert "ended: disconnected" in server.process.output


def test_a_client_that_leaves_in_the_middle_of_a_tool_call_or_of_the_models_silence(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    config = {
        "models": {
            "tool": calling("calc", "slow", scripted.base_url, seconds=60),
            "silence": model("hang", scripted.base_url),
            "main": model("say:Back again.", scripted.base_url),
        },
        "mcp_servers": {"calc": stdio()},
    }
    with served(project(tmp_path, config)) as server:
        for name, sign in (("tool", b"tool_call"), ("silence", b"Hello")):
            with server.stream(session=name, metadata={"model": name}) as response:
                parts = response.iter_raw()
                while sign not in next(parts):
                    pass
            server.process.expect(f"run of {name} ended: disconnected", limit_s=2)
            assert server.invoke(session=name).text == "Back again."
            scripted.wait_idle()  # nobody listens to the model any more
        assert server.health()["status"] == "healthy"


@pytest.mark.parametrize("concurrency", ["interrupt", "queue"])
def test_a_second_call_of_a_session_has_a_sound_history(
    tmp_path: Path, scripted: ScriptedLLM, concurrency: str
) -> None:
    seconds = 60 if concurrency == "interrupt" else 0.5
    config = {
        "models": {"main": calling("calc", "slow", scripted.base_url, seconds=seconds)},
        "mcp_servers": {"calc": stdio(call_timeout=1)},
        "session": {"backend": "memory", "concurrency": concurrency},
    }
    with served(project(tmp_path, config)) as server:
        with server.stream("first words") as response:
            parts = response.iter_raw()
            stream = b""
            while b"tool_call" not in stream:
                stream += next(parts)
            answer = server.invoke("second words")
            stream += b"".join(parts)
        assert (b"CANCELLED" in stream) == (concurrency == "interrupt")
        assert answer.text == "Done."
        assert "first words" in str(scripted.requests[-1]["messages"])
