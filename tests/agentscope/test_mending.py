"""Apps that call AgentScope's agents themselves: cut off anywhere, their next turn is accepted.

The model refuses a history in which a call has no result right behind it.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt._agentscope import load_adapter
from asgi_agentrt._run import _run
from asgi_agentrt._session import _hold, _state
from asgi_agentrt._session._mending import mend
from asgi_agentrt.agentscope import dump_state, load_state
from tests.support.scripted_llm import ScriptedLLM

from .conftest import MakeAgent, add
from .invoking import GENERATION, LIMIT_S, here, invoke, model, project
from .test_invoke_stopping import cancel_at

pytestmark = [
    pytest.mark.skipif(not GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # AgentScope 1.x makes the coroutines of a round's calls at once and drops those not reached.
    pytest.mark.filterwarnings("ignore:coroutine .ReActAgent._acting. was never awaited"),
]

CALLS = [{"name": "add", "arguments": {"a": number, "b": 1}} for number in range(3)]
AT_ONCE, STREAMED = "WAY = 'at once'", "WAY = 'streamed'"
DUMPED, OWN, BY_NAME = (f"KEEPING = {way!r}" for way in ("dump_state", "own state", "by name"))
IN_TURN, PARALLEL = "PARALLEL = False", "PARALLEL = True"


class Mended:
    """Counts the states that had to be mended."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for module in (_hold, _state):
            patch.setattr(module, "mend", self)

    def __call__(self, state: Any, **options: Any) -> Any:
        mended = mend(state, **options)
        self.count += mended is not state
        return mended


async def until_over(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for what goes on: AgentScope 1.x's agents do so when their stream is left."""
    with anyio.fail_after(LIMIT_S):
        while left := asyncio.all_tasks() - tasks:
            await asyncio.wait(left)


def second_history(scripted: ScriptedLLM) -> list[Any]:
    """Return what the model got in the last second turn.

    The last request need not be that one: the one of a turn that was cut off may arrive later.
    """
    seconds = [request for request in scripted.requests if request["model"].startswith("say")]
    messages: list[Any] = seconds[-1]["messages"]
    assert "second words" in str(messages)
    for message in messages:
        for call in message.get("tool_calls") or ():
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
    return messages


@pytest.mark.parametrize(
    ("way", "keeping", "calls", "suffers"),
    [
        pytest.param(AT_ONCE, DUMPED, IN_TURN, {1}, id="at once, dump_state"),
        pytest.param(AT_ONCE, OWN, PARALLEL, set(), id="at once, parallel calls"),
        pytest.param(STREAMED, OWN, IN_TURN, {1, 2}, id="streamed"),
        pytest.param(STREAMED, BY_NAME, PARALLEL, {1, 2}, id="streamed, parallel calls, by name"),
    ],
)
async def test_a_turn_that_is_cut_off_at_any_of_its_waits_is_followed_by_another(
    tmp_path: Path,
    scripted: ScriptedLLM,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    keeping: str,
    calls: str,
    suffers: set[int],
) -> None:
    """`suffers`: the generations that this does harm to, without us."""
    mended = Mended(monkeypatch)
    # An app may be left at any of its `yield`s, not only when its client is slow.
    monkeypatch.setattr(_run, "UNSENT_LIMIT_BYTES", 1)
    changes = {'WAY = "at once"': way, 'KEEPING = "dump_state"': keeping, IN_TURN: calls}
    models = {
        "main": model("calls:" + json.dumps(CALLS), scripted.base_url),
        "say": model("say:Back again.", scripted.base_url),
    }
    number, remembered = 0, 0
    async with here(project(tmp_path, {"models": models}, "unaided", changes)) as agent:
        assert not (await invoke(agent)).failed
        assert mended.count == 0
        while True:
            session = f"cut off {number}"
            before = asyncio.all_tasks()
            over, _ = await cancel_at(agent, number, session)
            if over:
                break
            await until_over(before)
            answer = await invoke(agent, "second words", session, metadata={"model": "say"})
            assert not answer.failed, number
            remembered += "first words" in str(second_history(scripted))
            number += 1
    assert number > 15
    assert remembered > number / 2
    assert bool(mended.count) == (GENERATION in suffers)


async def test_a_turn_that_the_app_itself_interrupts_is_followed_by_another(
    tmp_path: Path, scripted: ScriptedLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run succeeds; AgentScope 1.x forgets the calls after the one that it was stopped at."""
    mended = Mended(monkeypatch)
    interrupted = [{"name": "add", "arguments": {"a": -1, "b": 1}}, *CALLS]
    models = {
        "main": model("calls:" + json.dumps(interrupted), scripted.base_url),
        "say": model("say:Back again.", scripted.base_url),
    }
    changes = {'KEEPING = "dump_state"': OWN}
    async with here(project(tmp_path, {"models": models}, "unaided", changes)) as agent:
        assert not (await invoke(agent, "first words")).failed
        assert mended.count == (GENERATION == 1)
        answer = await invoke(agent, "second words", metadata={"model": "say"})
        assert not answer.failed
        assert "first words" in str(second_history(scripted))
        assert "interrupted" in str(second_history(scripted))


@pytest.mark.skipif(GENERATION != 2, reason="needs AgentScope 2.x")
async def test_a_call_that_waits_for_consent_still_waits_in_what_is_saved(
    make_agent: MakeAgent,
) -> None:
    from agentscope.event import ConfirmResult, UserConfirmResultEvent

    script = "calls:" + json.dumps(CALLS)
    agent = make_agent(script, add, ask=True)
    message = load_adapter().message_in({"name": "user", "role": "user", "content": "go"})
    await agent.reply(message)
    state = dump_state(agent)
    assert mend(state) is state
    assert state == agent.state.model_dump(mode="json")
    restored = make_agent(script, add, ask=True)
    load_state(restored, state)
    for _ in CALLS:
        [*asking] = restored.state.get_awaiting_tool_calls("bot")
        assert mend(dump_state(restored))["context"] == dump_state(restored)["context"]
        results = [ConfirmResult(confirmed=True, tool_call=asking[0])]
        event = UserConfirmResultEvent(reply_id=restored.state.reply_id, confirm_results=results)
        await restored.reply(event)
    assert restored.state.context[-1].get_text_content().endswith("Done.")
