"""What `stream_agent` yields of a turn: the same in both generations."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from asgi_agentrt._agentscope import Adapter
from asgi_agentrt._app_base import SessionContext, current_context
from asgi_agentrt._config import ModelConfig
from asgi_agentrt._message import Msg
from asgi_agentrt.agentscope import dump_state, load_state, stream_agent
from asgi_agentrt.exceptions import InvalidRequestError
from tests.support import llm
from tests.support.scripted_llm import ScriptedLLM

from .conftest import MakeAgent, _agent_of_1, _agent_of_2, add, collect, text_of

pytestmark = pytest.mark.anyio

ADD = 'call:add:{"a":1,"b":2}'


async def test_text_comes_in_pieces_of_one_message(make_agent: MakeAgent) -> None:
    chunks = await collect(stream_agent(make_agent("say:one two three"), "go"))
    assert [chunk.content for chunk in chunks] == ["one ", "two ", "three"]
    assert {(c.name, c.role, c.id, c.timestamp) for c in chunks} == {
        ("bot", "assistant", chunks[0].id, chunks[0].timestamp)
    }
    assert all(chunk.metadata == {"chunk": True} for chunk in chunks)
    assert chunks[0].id
    assert chunks[0].timestamp


async def test_tool_calls_and_results_come_complete(make_agent: MakeAgent) -> None:
    chunks = await collect(stream_agent(make_agent(ADD, add), "go"))
    (call,), (result,), *texts = (chunk.content for chunk in chunks)
    assert (call["type"], call["name"], json.loads(call["input"])) == (
        "tool_call",
        "add",
        {"a": 1, "b": 2},
    )
    assert result == {
        "type": "tool_result",
        "id": call["id"],
        "name": "add",
        "output": [{"type": "text", "text": "3"}],
    }
    assert "".join(texts) == "Done."
    assert {(chunk.name, chunk.role) for chunk in chunks} == {("bot", "assistant")}


async def test_several_calls_of_a_round_come_each(make_agent: MakeAgent) -> None:
    calls = [{"name": "add", "arguments": {"a": n, "b": n}} for n in (1, 2, 3)]
    chunks = await collect(stream_agent(make_agent(f"calls:{json.dumps(calls)}", add), "go"))
    blocks = [chunk.content[0] for chunk in chunks if not isinstance(chunk.content, str)]
    kinds = [block["type"] for block in blocks]
    assert sorted(kinds) == ["tool_call"] * 3 + ["tool_result"] * 3
    assert kinds[0] == "tool_call"
    results = [block["output"][0]["text"] for block in blocks if block["type"] == "tool_result"]
    assert sorted(results) == ["2", "4", "6"]


@pytest.mark.parametrize("given", ["go", Msg("ann", "go", "user"), {"content": "go"}])
async def test_a_message_of_any_class_will_do(
    make_agent: MakeAgent, scripted: ScriptedLLM, given: Any
) -> None:
    await collect(stream_agent(make_agent("say"), given))
    assert scripted.requests[0]["messages"][1]["content"] == [{"type": "text", "text": "go"}]


async def test_agentscopes_own_message_will_do(
    make_agent: MakeAgent, scripted: ScriptedLLM, adapter: Adapter
) -> None:
    wire = {"name": "ann", "content": "go", "role": "user", "metadata": {}}
    message = adapter.message_in(wire)
    await collect(stream_agent(make_agent("say"), [message, "now"]))
    first, second = scripted.requests[0]["messages"][1:3]
    assert (first["name"], first["content"][0]["text"]) == ("ann", "go")
    assert second["content"][0]["text"] == "now"


async def test_what_the_model_raises_comes_through(make_agent: MakeAgent) -> None:
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.BadRequestError, match="scripted failure"):
        await collect(stream_agent(make_agent("error:400"), "go"))


async def test_an_error_comes_after_what_was_said_before(make_agent: MakeAgent) -> None:
    openai = pytest.importorskip("openai")
    agent = make_agent('turns:[{"call":["add",{"a":1,"b":2}]},{"error":400}]', add)
    chunks: list[Any] = []

    async def read() -> None:
        async for chunk in stream_agent(agent, "go"):
            chunks.append(chunk)  # noqa: PERF401  what came before the error counts

    with pytest.raises(openai.BadRequestError), anyio.fail_after(10):
        await read()
    assert [chunk.content[0]["type"] for chunk in chunks] == ["tool_call", "tool_result"]


async def test_an_agent_goes_on_from_a_state_that_was_stored(
    make_agent: MakeAgent, scripted: ScriptedLLM
) -> None:
    agent = make_agent(ADD, add)
    await collect(stream_agent(agent, "go"))
    stored = json.loads(json.dumps(dump_state(agent)))
    other = make_agent(ADD, add)
    load_state(other, stored)
    assert text_of(await collect(stream_agent(other, "again"))) == "Done."
    said = [message["role"] for message in scripted.requests[2]["messages"]]
    assert said[:5] == ["system", "user", "assistant", "tool", "assistant"] or said.count("tool")


async def test_nothing_is_printed(
    make_agent: MakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    await collect(stream_agent(make_agent("say"), "go"))
    assert capsys.readouterr().out == ""


async def test_the_agents_task_has_the_callers_context(make_agent: MakeAgent) -> None:
    seen: list[Any] = []

    async def look() -> str:
        seen.append(current_context.get())
        return "ok"

    context = SessionContext("s")
    token = current_context.set(context)
    try:
        await collect(stream_agent(make_agent("call:look:{}", look), "go"))
    finally:
        current_context.reset(token)
    assert seen == [context]


@pytest.mark.parametrize("agent", [None, "bot", object()])
async def test_what_is_no_agent_is_refused(adapter: Adapter, agent: Any) -> None:
    with pytest.raises(TypeError, match="needs an AgentScope agent, not"):
        await collect(stream_agent(agent, "go"))


async def test_many_agents_stream_at_once(make_agent: MakeAgent) -> None:
    words = [f"agent {number} speaks" for number in range(8)]
    texts = await asyncio.gather(
        *(collect(stream_agent(make_agent(f"say:{text}"), "go")) for text in words)
    )
    assert [text_of(chunks) for chunks in texts] == words


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_real_model_is_heard(
    adapter: Adapter, llm_url: str, provider: str, stream: bool
) -> None:
    """What the client puts together is what the agent remembers."""
    model = adapter.make_model(
        ModelConfig(
            provider=provider,
            model=llm.MODEL,
            base_url=llm_url if provider == "anthropic" else f"{llm_url}/v1",
            api_key="k",
            stream=stream,
            generate_kwargs={"temperature": 0, "max_tokens": 24},
        )
    )
    if adapter.generation == 1:
        from agentscope.formatter import AnthropicChatFormatter, OpenAIChatFormatter

        agent = _agent_of_1(model, (), {})
        agent.formatter = (
            AnthropicChatFormatter() if provider == "anthropic" else OpenAIChatFormatter()
        )
    else:
        agent = _agent_of_2(model, (), {})
    chunks = await collect(stream_agent(agent, "What is the capital of France?"), limit_s=60)
    text = text_of(chunks)
    assert len(text) > 20
    assert (len(chunks) > 3) == stream
    assert json.dumps(text)[1:-1] in json.dumps(dump_state(agent))
    await adapter.close_model(model)


# ---- AgentScope 1.x ----------------------------------------------------------------------------


def custom_agent(reply: Any) -> Any:
    from agentscope.agent import AgentBase

    class Custom(AgentBase):  # type: ignore[misc]  # Any where AgentScope is absent
        name = "custom"

        async def reply(self, msg: Any) -> Any:
            return await reply(self, msg)

        async def handle_interrupt(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError

    return Custom()


async def test_an_agent_that_prints_nothing_is_heard_too(adapter: Adapter) -> None:
    if adapter.generation == 2:
        pytest.skip("1.x only")
    from agentscope.message import Msg as Theirs

    async def reply(agent: Any, msg: Any) -> Any:
        return Theirs("custom", f"you said {msg.content}", "assistant")

    (chunk,) = await collect(stream_agent(custom_agent(reply), "hi"))
    assert (chunk.name, chunk.content) == ("custom", "you said hi")


async def test_snapshots_of_several_blocks_become_differences(adapter: Adapter) -> None:
    """Thoughts and texts as they grow, media when the message is complete, nothing twice."""
    if adapter.generation == 2:
        pytest.skip("1.x only")
    from agentscope.message import Msg as Theirs

    thought = {"type": "thinking", "thinking": "h"}
    image = {"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}}

    async def reply(agent: Any, msg: Any) -> Any:
        message = Theirs("custom", [thought], "assistant")
        await agent.print(message, False)
        message.content = [{**thought, "thinking": "hm"}, {"type": "text", "text": "a"}, image]
        await agent.print(message, False)
        message.content = [*message.content[:1], {"type": "text", "text": "ab"}, image]
        await agent.print(message, True)
        return message

    chunks = await collect(stream_agent(custom_agent(reply), "hi"))
    source = {"type": "url", "url": "https://x.org/a.png", "media_type": "image/png"}
    assert [chunk.content for chunk in chunks] == [
        [{"type": "thinking", "thinking": "h"}],
        [{"type": "thinking", "thinking": "m"}],
        "a",
        "b",
        [{"type": "data", "source": source}],
    ]


async def test_a_text_that_was_rewritten_is_sent_as_it_is_now(adapter: Adapter) -> None:
    if adapter.generation == 2:
        pytest.skip("1.x only")
    from agentscope.message import Msg as Theirs

    async def reply(agent: Any, msg: Any) -> Any:
        message = Theirs("custom", "draft", "assistant")
        await agent.print(message, False)
        message.content = "final"
        return message

    chunks = await collect(stream_agent(custom_agent(reply), "hi"))
    assert [chunk.content for chunk in chunks] == ["draft", "final"]


@pytest.mark.filterwarnings("ignore:coroutine .ReActAgent._acting. was never awaited")
async def test_an_interrupted_agent_of_1_leaves_a_memory_that_providers_take(
    make_agent: MakeAgent, adapter: Adapter
) -> None:
    """AgentScope gives no result to the calls after the one that was interrupted."""
    if adapter.generation == 2:
        pytest.skip("1.x only")

    async def interrupt() -> str:
        await agent.interrupt()
        await anyio.sleep(5)
        return "never"

    calls = [{"name": name, "arguments": {}} for name in ("interrupt", "interrupt")]
    agent = make_agent(f"calls:{json.dumps(calls)}", interrupt)
    chunks = await collect(stream_agent(agent, "go"))
    assert "interrupted me" in text_of(chunks)
    agent.model.model_name = "say:fine"
    assert text_of(await collect(stream_agent(agent, "again"))) == "fine"


async def test_a_memory_that_fails_is_logged(
    make_agent: MakeAgent, adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    if adapter.generation == 2:
        pytest.skip("1.x only")
    from agentscope.memory import InMemoryMemory

    class Failing(InMemoryMemory):  # type: ignore[misc]  # Any where AgentScope is absent
        fails = False

        async def get_memory(self, *args: Any, **options: Any) -> Any:
            if options.get("prepend_summary") is False:
                raise ConnectionError("secret")
            return await super().get_memory(*args, **options)

    agent = make_agent("say", memory=Failing())
    assert text_of(await collect(stream_agent(agent, "go")))
    assert "could not be tidied up: ConnectionError" in caplog.text
    assert "secret" not in caplog.text


# ---- AgentScope 2.x: consent -------------------------------------------------------------------


@pytest.fixture
def asking(make_agent: MakeAgent, adapter: Adapter) -> Any:
    """Build agents that ask before they call a tool."""
    if adapter.generation == 1:
        pytest.skip("2.x only")

    def make(script: str = ADD) -> Any:
        return make_agent(script, add, ask=True)

    return make


async def turn(agent: Any, confirm: Any = None, text: str = "go") -> list[Any]:
    token = current_context.set(SessionContext("s", confirm=confirm))
    try:
        return await collect(stream_agent(agent, text))
    finally:
        current_context.reset(token)


def asked(chunks: list[Any]) -> list[dict[str, Any]]:
    confirm = chunks[-1].metadata["confirm"]
    assert isinstance(confirm, list)
    assert chunks[-1].content == ""
    return confirm


@pytest.mark.parametrize("confirmed", [True, False])
async def test_the_next_turn_answers_what_the_last_one_asked(asking: Any, confirmed: bool) -> None:
    """In a fresh agent, from the stored state, as it is between two requests."""
    agent = asking()
    (call,) = asked(await turn(agent))
    assert (call["name"], json.loads(call["input"])) == ("add", {"a": 1, "b": 2})
    other = asking()
    load_state(other, json.loads(json.dumps(dump_state(agent))))
    chunks = await turn(other, [{"id": call["id"], "confirmed": confirmed}])
    output = chunks[0].content[0]["output"][0]["text"]
    assert (output == "3") == confirmed
    assert ("denied" in output) != confirmed
    assert text_of(chunks) == "Done."
    assert {chunk.name for chunk in chunks} == {"bot"}


async def test_a_plain_message_gives_the_open_calls_up(asking: Any, scripted: ScriptedLLM) -> None:
    agent = asking()
    await turn(agent)
    agent.model.model = "say:other things then"
    assert text_of(await turn(agent, text="never mind")) == "other things then"
    messages = scripted.requests[-1]["messages"]
    assert "interrupted" in next(m["content"] for m in messages if m["role"] == "tool")


async def test_answers_to_other_questions_give_the_open_calls_up_too(asking: Any) -> None:
    agent = asking()
    await turn(agent)
    agent.model.model = "say:fine"
    chunks = await turn(agent, [{"id": "of-another-agent", "confirmed": True}])
    assert text_of(chunks) == "fine"


async def test_answers_that_nobody_waits_for_are_ignored(asking: Any) -> None:
    chunks = await turn(asking("say:hello"), [{"id": "x", "confirmed": True}])
    assert text_of(chunks) == "hello"


async def test_calls_of_a_round_are_asked_for_one_after_the_other(asking: Any) -> None:
    """Each question is the last message of its turn."""
    calls = [{"name": "add", "arguments": {"a": n, "b": n}} for n in (1, 2, 3)]
    agent = asking(f"calls:{json.dumps(calls)}")
    chunks = await turn(agent)
    results: list[str] = []
    for _ in calls:
        (call,) = asked(chunks)
        assert sum("confirm" in chunk.metadata for chunk in chunks) == 1
        chunks = await turn(agent, [{"id": call["id"], "confirmed": True}])
        blocks = [chunk.content[0] for chunk in chunks if isinstance(chunk.content, list)]
        results += [b["output"][0]["text"] for b in blocks if b["type"] == "tool_result"]
    assert text_of(chunks) == "Done."
    assert results == ["2", "4", "6"]


async def test_the_app_may_answer_with_an_event_itself(asking: Any) -> None:
    from agentscope.event import UserInterruptEvent

    agent = asking()
    await turn(agent)
    async with aclosing(stream_agent(agent, UserInterruptEvent(reply_id="x"))) as chunks:
        blocks = [chunk.content for chunk in await collect(chunks)]
    assert blocks[0][0]["type"] == "tool_result"


@pytest.mark.parametrize(
    ("confirm", "reason"),
    [
        (["yes"], r"confirm\[0\] must be an object"),
        ([{"confirmed": True}], r"confirm\[0\]\.id must be a string"),
        ([{"id": "1", "confirmed": "yes"}], r"confirm\[0\]\.confirmed must be true or false"),
        ([{"id": "1", "confirmed": True}, {}], r"confirm\[1\]\.id must be a string"),
    ],
)
async def test_an_answer_of_the_wrong_form_is_refused(
    make_agent: MakeAgent, confirm: Any, reason: str
) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        await turn(make_agent("say"), confirm)
