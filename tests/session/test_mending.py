"""Conversations that were cut off: what is mended is accepted, and nothing else is touched."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgi_agentrt._session import Sessions, dump_state, make_key
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt._session._mending import mend

from .doubles import StateModule

TEXT = "The tool call has been interrupted."


# ---- as AgentScope writes them -------------------------------------------------------------------


def said_1(*blocks: Any, name: str = "bot", marks: tuple[str, ...] = ()) -> list[Any]:
    role = "assistant" if name == "bot" else name
    message = {"id": f"m{len(blocks)}", "name": name, "role": role, "content": list(blocks)}
    return [{**message, "metadata": {}, "timestamp": "2026-01-02 03:04:05.678"}, list(marks)]


def user_1(text: str = "hi") -> list[Any]:
    item = said_1(name="user")
    item[0]["content"] = text
    return item


def use(identity: Any, given: Any = None) -> Any:
    return {"type": "tool_use", "id": identity, "name": "add", "input": given or {"a": 1}}


def result_1(identity: Any, output: Any = "5") -> Any:
    return {"type": "tool_result", "id": identity, "name": "add", "output": output}


def answer_1(*identities: Any) -> list[Any]:
    return said_1(*map(result_1, identities), name="system")


def text(words: str = "so") -> Any:
    return {"type": "text", "text": words}


def memory(*items: Any) -> Any:
    return {"memory": {"content": list(items), "_compressed_summary": ""}, "name": "bot"}


def call(identity: str, state: str = "finished", given: str = '{"a": 1}') -> Any:
    block = {"type": "tool_call", "id": identity, "name": "add", "input": given, "state": state}
    return {
        **block,
        "suggested_rules": [],
        "created_at": "2026-01-02T03:04:05",
        "finished_at": None,
    }


def result_2(identity: str, state: str = "success", output: Any = "5") -> Any:
    return {**result_1(identity, output), "state": state, "metadata": {}}


def hint() -> Any:
    return {"type": "hint", "hint": "it is noon"}


def said_2(*blocks: Any, role: str = "assistant") -> Any:
    message = {"id": "r1", "name": "bot", "role": role, "content": list(blocks), "metadata": {}}
    return {**message, "created_at": "2026-01-02T03:04:05", "usage": None}


def context(*messages: Any) -> Any:
    return {"session_id": "x", "context": list(messages), "reply_context": {"cur_iter": 1}}


def mended_items(state: Any, **options: Any) -> list[Any]:
    items: list[Any] = mend(state, **options)["memory"]["content"]
    return items


def mended_context(state: Any, **options: Any) -> list[Any]:
    messages: list[Any] = mend(state, **options)["context"]
    return messages


# ---- 1.x -----------------------------------------------------------------------------------------

WHOLE_1 = [
    memory(),
    memory(user_1(), said_1(text())),
    memory(user_1(), said_1(text(), use("a")), answer_1("a"), said_1(text()), user_1()),
    memory(said_1(use("a"), use("b")), answer_1("b"), answer_1("a"), said_1()),
    memory(said_1(use("a"), text(), use("b")), answer_1("a", "b")),
    memory(said_1(use("a")), answer_1("a"), said_1(use("a")), answer_1("a")),
    memory(said_1(use(None)), answer_1(None)),
    memory(said_1(use("a")), said_1(), answer_1("a")),  # models never see what says nothing
    memory(said_1(use("a")), "what is no message"),
    {"content": "text", "context": None},
    {"content": [text(), use("a")]},  # a message's
    {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}], "content": None}]},
]


@pytest.mark.parametrize("state", WHOLE_1)
def test_a_memory_that_is_whole_is_left_alone(state: Any) -> None:
    before = deepcopy(state)
    assert mend(state) is state
    assert state == before


def test_a_call_without_a_result_gets_one_as_agentscope_writes_it() -> None:
    state = memory(user_1(), said_1(text(), use("a"), marks=("compressed",)), said_1(text("Hm?")))
    before = deepcopy(state)
    user, calling, answer, last = mended_items(state)
    assert state == before
    assert [user, calling, last] == before["memory"]["content"]
    assert answer == [
        {
            "id": "m2-a",
            "name": "system",
            "role": "system",
            "content": [{"type": "tool_result", "id": "a", "name": "add", "output": TEXT}],
            "metadata": {},
            "timestamp": "2026-01-02 03:04:05.678",
        },
        ["compressed"],
    ]


def test_results_of_parallel_calls_stand_together_behind_them() -> None:
    calling = said_1(use("a"), use("b"), use("c"))
    late = answer_1("b")
    state = memory(calling, answer_1("c"), said_1(text("Hm?")), late, user_1())
    items = mended_items(state)
    found = [block["id"] for item in items[1:4] for block in item[0]["content"]]
    assert found == ["c", "b", "a"]
    assert items[2] is late
    assert items[4:] == [said_1(text("Hm?")), user_1()]


def test_a_result_without_a_call_goes_and_what_was_said_with_it_stays() -> None:
    state = memory(answer_1("x"), said_1(result_1("y"), text("so"), name="user"), user_1())
    said, asked = mended_items(state)
    assert said[0]["content"] == [text("so")]
    assert asked == user_1()
    twice = memory(said_1(use("a")), answer_1("a"), answer_1("a"))
    assert mended_items(twice) == [said_1(use("a")), answer_1("a")]


def test_a_result_belongs_to_the_last_call_of_its_id() -> None:
    """Some models' calls are numbered anew in each round."""
    state = memory(said_1(use("0")), user_1(), said_1(use("0")), answer_1("0"))
    items = mended_items(state)
    assert items[1][0]["content"][0]["output"] == TEXT
    assert items[4] == answer_1("0")


def test_a_result_that_shares_its_message_is_taken_out_of_it() -> None:
    state = memory(said_1(use("a")), user_1(), said_1(text(), result_1("a"), result_1("x")))
    items = mended_items(state)
    assert [item[0]["content"] for item in items] == [[use("a")], [result_1("a")], "hi", [text()]]
    assert items[1][0]["id"] == "m3-a"


def test_messages_of_an_older_memory_have_no_marks() -> None:
    items = mended_items(memory(user_1()[0], said_1(use("a"))[0]))
    assert [item["role"] for item in items] == ["user", "assistant", "system"]


def test_arguments_that_are_none_become_such() -> None:
    calling, _ = mended_items(memory(said_1(use("a", "{"))))
    assert calling[0]["content"][0]["input"] == {}


def test_calls_that_nothing_follows_may_be_left_to_the_app() -> None:
    """In what a run saves that ended by itself; in the middle, nobody can bring a result."""
    waiting = memory(user_1(), said_1(use("a"), use("b")), answer_1("b"))
    assert mend(waiting, keep_last=True) is waiting
    assert len(mended_items(waiting)) == 4
    both = memory(said_1(use("a")), user_1(), said_1(use("b")))
    assert [len(item[0]["content"]) for item in mended_items(both, keep_last=True)] == [1, 1, 2, 1]
    kept = context(said_2(call("a", "allowed")))
    assert mend(kept, keep_last=True) is kept


# ---- 2.x -----------------------------------------------------------------------------------------

USER = said_2(text("hi"), role="user")
WHOLE_2 = [
    context(),
    context(USER, said_2(text()), said_2()),
    context(USER, said_2(text(), call("a"), call("b"), result_2("b"), result_2("a"), text()), USER),
    context(said_2(hint(), call("a"), result_2("a"), hint(), call("a"), result_2("a"))),
    context(said_2(call("a")), said_2(result_2("a"))),
    context(said_2(call("a", given="no JSON"), result_2("a", "error"))),
    context(said_2(call("a"), result_2("a", "interrupted"))),
    # Those wait for somebody.
    context(USER, said_2(call("a", "asking"))),
    context(USER, said_2(call("a", "asking"), call("b", "pending"), call("c"), result_2("c"))),
    context(USER, said_2(call("a", "submitted"), hint())),
]


@pytest.mark.parametrize("state", WHOLE_2)
def test_a_context_that_is_whole_or_waits_is_left_alone(state: Any) -> None:
    before = deepcopy(state)
    assert mend(state) is state
    assert mend({"agents": [{"x": state}]})["agents"][0]["x"] is state
    assert state == before


def test_a_call_of_2_without_a_result_gets_one_behind_those_of_its_round() -> None:
    reply = said_2(text(), call("a", "allowed"), call("b", "pending"), result_2("a"))
    state = context(USER, reply, USER)
    before = deepcopy(state)
    _, mended, _ = mended_context(state)
    assert state == before
    assert mended["content"] == [
        text(),
        call("a", "allowed"),
        call("b"),
        result_2("a"),
        {
            "type": "tool_result",
            "id": "b",
            "name": "add",
            "output": TEXT,
            "state": "interrupted",
            "created_at": "2026-01-02T03:04:05",
        },
    ]


def test_a_result_is_put_before_what_was_said_next() -> None:
    reply = said_2(call("a"), hint(), call("b"), result_2("b"), text(), result_2("a"))
    [mended] = mended_context(context(reply))
    assert mended["content"] == [
        call("a"), result_2("a"), hint(), call("b"), result_2("b"), text()
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["", '{"a": 1, "b', '{"a"', "[1]", "null", "[" * 100_000])
def test_arguments_that_the_model_did_not_finish_become_none(given: str) -> None:
    for reply in (
        said_2(call("a", given=given)),
        said_2(call("a", given=given), result_2("a", "interrupted")),
    ):
        state = context(reply, USER)
        assert mended_context(state)[0]["content"][0]["input"] == "{}"
        assert mend(mend(state)) == mend(state)


def test_a_call_that_ran_is_over_while_another_waits() -> None:
    """Or it would run once more when the answer comes."""
    reply = said_2(call("a", "asking"), call("b", "allowed"), call("c", "pending"))
    [mended] = mended_context(context(reply))
    assert [block["id"] for block in mended["content"]] == ["a", "b", "c", "b"]
    assert [block["state"] for block in mended["content"]] == [
        "asking", "finished", "pending", "interrupted"
    ]  # fmt: skip


def test_a_call_that_waits_is_over_when_the_conversation_went_on() -> None:
    """AgentScope looks for such calls in the last message only."""
    mended, _ = mended_context(context(said_2(call("a", "asking")), USER))
    assert mended["content"][0]["state"] == "finished"
    assert mended["content"][1]["output"] == TEXT


def test_a_call_that_was_refused_does_not_wait_any_more() -> None:
    """AgentScope stops between the two, and would then ask for ever."""
    [mended] = mended_context(context(said_2(call("a", "asking"), result_2("a", "denied"))))
    assert mended["content"] == [call("a"), result_2("a", "denied")]


def test_a_message_of_nothing_but_orphans_goes() -> None:
    assert mended_context(context(said_2(result_2("x")), USER)) == [USER]


# ---- what a model's provider gets ----------------------------------------------------------------

Sent = tuple[str, list[str]]


def sent_1(items: list[Any]) -> list[Sent]:
    """Format as AgentScope 1.x does for OpenAI."""
    sent: list[Sent] = []
    for message, _ in items:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        sent += [("tool", [block["id"]]) for block in blocks if block["type"] == "tool_result"]
        if others := [block for block in blocks if block["type"] != "tool_result"]:
            sent.append(("said", [block["id"] for block in others if block["type"] == "tool_use"]))
    return sent


def sent_2(messages: list[Any]) -> list[Sent]:
    """Format as AgentScope 2.x does for OpenAI."""
    sent: list[Sent] = []
    for message in messages:
        waiting: list[Any] = []

        def flush(blocks: list[Any] = waiting) -> None:
            if blocks:
                calls = [block["id"] for block in blocks if block["type"] == "tool_call"]
                sent.append(("said", calls))
                blocks.clear()

        for block in message["content"]:
            if block["type"] == "tool_result":
                flush()
                sent.append(("tool", [block["id"]]))
            elif block["type"] == "hint":
                flush()
                sent.append(("said", []))
            else:
                waiting.append(block)
        flush()
    return sent


def are_accepted(sent: list[Sent]) -> bool:
    unanswered: Counter[str] = Counter()
    for kind, identities in [*sent, ("said", [])]:
        if kind == "said":
            if unanswered.total():
                return False
            unanswered = Counter(identities)
        elif unanswered[identities[0]] == 0:
            return False
        else:
            unanswered[identities[0]] -= 1
    return True


ids = st.sampled_from("abc")
uses = st.lists(st.builds(use, ids) | st.builds(text), max_size=3).map(lambda got: said_1(*got))
answers = st.lists(ids, min_size=1, max_size=2).map(lambda got: answer_1(*got))
mixed = st.builds(lambda got: said_1(result_1(got), text()), ids)
conversations_1 = st.lists(uses | answers | mixed | st.builds(user_1), max_size=8)

states = st.sampled_from(["pending", "asking", "allowed", "submitted", "finished"])
inputs = st.sampled_from(["{}", '{"a": 1}', '{"a', ""])
results = st.builds(result_2, ids, st.sampled_from(["success", "error", "interrupted"]))
blocks_2 = st.builds(call, ids, states, inputs) | results | st.builds(text) | st.builds(hint)
replies = st.lists(blocks_2, max_size=6).map(lambda got: said_2(*got))
# In the end the user speaks: nothing waits any more.
conversations_2 = st.lists(replies | st.just(USER), max_size=5).map(lambda got: [*got, USER])


def other_blocks(messages: list[Any]) -> list[Any]:
    contents = [message["content"] for message in messages]
    blocks = [block for content in contents for block in content]
    kept = [block for block in blocks if isinstance(block, str) or block["type"] != "tool_result"]
    return [
        block if isinstance(block, str) else {**block, "state": None, "input": None}
        for block in kept
    ]


@settings(max_examples=200, deadline=None)
@given(items=conversations_1)
@example(items=[answer_1("a"), said_1(use("a"), use("a")), user_1(), answer_1("a", "a")])
def test_any_memory_is_accepted_when_it_was_mended(items: list[Any]) -> None:
    state = memory(*items)
    before = deepcopy(state)
    mended = mend(state)
    assert state == before
    found = mended["memory"]["content"]
    assert are_accepted(sent_1(found))
    assert (mended is state) == are_accepted(sent_1(items))
    assert mend(mended) is mended
    assert other_blocks([item[0] for item in found]) == other_blocks([item[0] for item in items])


@settings(max_examples=200, deadline=None)
@given(messages=conversations_2)
@example(messages=[said_2(call("a"), text(), call("b"), hint(), result_2("a")), USER])
def test_any_context_is_accepted_when_it_was_mended(messages: list[Any]) -> None:
    state = context(*messages)
    before = deepcopy(state)
    mended = mend(state)
    assert state == before
    found = mended["context"]
    assert are_accepted(sent_2(found))
    if mended is state:
        assert are_accepted(sent_2(messages))
    assert mend(mended) is mended
    assert other_blocks(found) == other_blocks(messages)
    calls: list[Any] = []
    for block in (block for message in found for block in message["content"]):
        if block["type"] == "tool_call":
            calls.append(block)
            assert block["state"] != "asking"
        elif block.get("state") == "interrupted":
            called = max(i for i, call in enumerate(calls) if call["id"] == block["id"])
            assert isinstance(json.loads(calls.pop(called)["input"]), dict)
        elif block["type"] == "tool_result":
            del calls[max(i for i, call in enumerate(calls) if call["id"] == block["id"])]


json_values = st.recursive(
    st.none() | st.text("abc") | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "context", "role", "type", "id", "state"]), inner
        )
    ),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(state=json_values)
def test_whatever_else_there_is_in_a_state_does_no_harm(state: Any) -> None:
    mended = mend({"content": state, "context": [state]})
    assert mend(mended) == mended


def test_what_is_nested_for_ever_is_not_looked_at_for_ever() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    assert mend(loop) is loop


# ---- where it is done ----------------------------------------------------------------------------

CUT = [user_1(), said_1(use("a")), said_1(text("Hm?"))]


def test_the_state_of_a_module_is_mended_and_that_of_a_dict_is_not() -> None:
    module = StateModule(memory=StateModule(content=CUT))
    assert len(dump_state(module)["memory"]["content"]) == 4
    assert len(module.memory.content) == 3
    assert dump_state({"memory": {"content": CUT}}) == {"memory": {"content": CUT}}


@pytest.mark.anyio
async def test_the_state_of_a_run_is_mended_before_it_is_saved() -> None:
    key = make_key("s1")
    sessions = Sessions(MemoryStore())
    hold = sessions.hold(key, None)
    ended = {"agent": memory(*CUT, said_1(use("b")))}
    for is_cut_off, count in ((False, 5), (True, 6)):
        await hold.save_state(ended, is_cut_off=is_cut_off)
        saved = await sessions.load_context_state(key)
        assert len(saved["agent"]["memory"]["content"]) == count
    assert len(ended["agent"]["memory"]["content"]) == 4
