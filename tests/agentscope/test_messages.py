"""Messages of AgentScope, in from a caller and out to the wire, in one vocabulary of blocks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgi_agentrt._agentscope import Adapter
from asgi_agentrt._message import encode_json
from asgi_agentrt.exceptions import InvalidRequestError, MessageError

PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}


def incoming(content: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "user", "content": content, "role": "user", "metadata": {}, **fields}


def sent_back(adapter: Adapter, content: Any) -> Any:
    """What a client would get if the app yielded the message it was given."""
    (wire,) = adapter.outgoing()(adapter.message_in(incoming(content)))
    return wire["content"]


def test_a_text_becomes_the_users_message(adapter: Adapter) -> None:
    message = adapter.message_in(incoming("hi", name="bob", metadata={"a": 1}))
    assert (message.name, message.role, message.metadata) == ("bob", "user", {"a": 1})
    assert message.get_text_content() == "hi"
    assert adapter.owns(message)


def test_a_string_stays_a_string_where_agentscope_keeps_it(adapter: Adapter) -> None:
    expected: Any = "hi" if adapter.generation == 1 else [{"type": "text", "text": "hi"}]
    assert sent_back(adapter, "hi") == expected


@pytest.mark.parametrize(
    ("block", "media_type"),
    [
        ({"type": "image", "source": {"type": "url", "url": "https://x.org/a.png"}}, "image/png"),
        ({"type": "image", "source": {"type": "url", "url": "https://x.org/a"}}, "image/jpeg"),
        ({"type": "audio", "source": {"type": "url", "url": "https://x.org/a"}}, "audio/wav"),
        ({"type": "video", "source": {"type": "url", "url": "https://x.org/a.mp4"}}, "video/mp4"),
        ({"type": "data", "source": {"type": "url", "url": "https://x.org/a.png"}}, "image/png"),
        ({"type": "image", "source": PNG}, "image/png"),
        ({"type": "data", "source": PNG}, "image/png"),
    ],
)
def test_media_of_both_vocabularies_arrive(
    adapter: Adapter, block: dict[str, Any], media_type: str
) -> None:
    text = {"type": "text", "text": "what is this?"}
    message = adapter.message_in(incoming([text, block]))
    kind = media_type.partition("/")[0] if adapter.generation == 1 else "data"
    assert len(message.get_content_blocks(kind)) == 1
    back = sent_back(adapter, [text, block])
    assert back[0] == text
    assert back[1]["type"] == "data"
    assert back[1]["source"]["media_type"] == media_type
    for key in ("url", "data"):
        assert back[1]["source"].get(key) == block["source"].get(key)


def test_a_file_is_for_2_only(adapter: Adapter) -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    block = {"type": "data", "source": pdf, "name": "a.pdf"}
    if adapter.generation == 2:
        assert sent_back(adapter, [block]) == [block]
        return
    with pytest.raises(InvalidRequestError, match=r"^message\.content\[0\]: .*, not application/"):
        adapter.message_in(incoming([block]))


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"type": "tool_call", "id": "1", "name": "f", "input": "{}"}, r"\.type"),
        ({"type": "tool_result", "id": "1", "name": "f", "output": ""}, r"\.type"),
        ({"type": "hint", "hint": "do it"}, r"\.type"),
        ({}, r"\.type"),
        ({"type": "image"}, r"\.source"),
        ({"type": "image", "source": {"type": "url"}}, r"\.source"),
        ({"type": "image", "source": {"type": "base64", "data": "aGk="}}, r"\.source\.media_type"),
        ({"type": "data", "source": {**PNG, "media_type": 5}}, r"\.source\.media_type"),
        ({"type": "data", "source": PNG, "name": 5}, r"\.name"),
    ],
)
def test_other_blocks_are_refused_with_their_place(
    adapter: Adapter, block: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidRequestError, match=rf"^message\.content\[1\]{place} "):
        adapter.message_in(incoming([{"type": "text", "text": "hi"}, block]))


@pytest.mark.parametrize("url", ["not a url", "http://[", ""])
def test_a_url_that_is_none_is_refused_or_passed_on(adapter: Adapter, url: str) -> None:
    """1.x does not look at it."""
    content = [{"type": "image", "source": {"type": "url", "url": url}}]
    if adapter.generation == 1:
        assert sent_back(adapter, content)[0]["source"]["url"] == url
        return
    with pytest.raises(InvalidRequestError, match=r"source\.url must be a URL"):
        adapter.message_in(incoming(content))


def assistant(adapter: Adapter, content: list[dict[str, Any]], **fields: Any) -> Any:
    from agentscope.message import Msg

    return Msg(name="bot", content=content, role="assistant", **fields)


def test_an_answer_has_the_keys_of_the_wire_in_their_order(adapter: Adapter) -> None:
    message = assistant(adapter, [{"type": "text", "text": "hi"}])
    (wire,) = adapter.outgoing()(message)
    assert list(wire) == ["name", "content", "role", "metadata", "id", "timestamp"]
    assert (wire["name"], wire["role"], wire["metadata"]) == ("bot", "assistant", {})
    assert wire["content"] == [{"type": "text", "text": "hi"}]
    assert wire["id"] == message.id
    assert isinstance(wire["timestamp"], str)
    encode_json(wire)


def test_blocks_leave_in_one_vocabulary(adapter: Adapter) -> None:
    call: dict[str, Any] = {"id": "1", "name": "add"}
    if adapter.generation == 1:
        call |= {"type": "tool_use", "input": {"a": "ä"}, "raw_input": "{}"}
        image = {"type": "image", "source": PNG}
    else:
        call |= {"type": "tool_call", "input": '{"a":"ä"}', "state": "finished"}
        image = {"type": "data", "source": PNG}
    text = {"type": "text", "text": "3"}
    content = [
        {"type": "thinking", "thinking": "hm"},
        call,
        {"type": "tool_result", "id": "1", "name": "add", "output": [text, image]},
        {"type": "tool_result", "id": "2", "name": "add", "output": "4"},
    ]
    (wire,) = adapter.outgoing()(assistant(adapter, content))
    thinking, call, result, short = wire["content"]
    assert thinking == {"type": "thinking", "thinking": "hm"}
    assert call == {"type": "tool_call", "id": "1", "name": "add", "input": '{"a":"ä"}'}
    assert result == {
        "type": "tool_result",
        "id": "1",
        "name": "add",
        "output": [text, {"type": "data", "source": PNG}],
    }
    assert short["output"] == "4"


def test_hints_stay_here(adapter: Adapter) -> None:
    if adapter.generation == 1:
        pytest.skip("2.x only")
    hint = {"type": "hint", "hint": "the time is 9"}
    (wire,) = adapter.outgoing()(assistant(adapter, [hint, {"type": "text", "text": "hi"}]))
    assert [block["type"] for block in wire["content"]] == ["text"]


def test_a_block_that_1_has_not_checked_is_passed_on(adapter: Adapter) -> None:
    if adapter.generation == 2:
        pytest.skip("2.x checks them")
    odd: list[Any] = [{"type": "weird", "x": 1}, "text", {"type": "image", "source": None}]
    (wire,) = adapter.outgoing()(assistant(adapter, odd, metadata=None))
    assert (wire["content"], wire["metadata"]) == (odd, {})
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"a": object()}}
    with pytest.raises(MessageError, match="is of type object"):
        adapter.outgoing()(assistant(adapter, [call]))


def test_what_is_not_agentscopes_is_not_owned(adapter: Adapter) -> None:
    from asgi_agentrt._message import Msg

    for item in (Msg("bot", "hi", "assistant"), {"content": "hi"}, "hi", None, 1):
        assert not adapter.owns(item)


def test_events_become_chunks(adapter: Adapter) -> None:
    """What 2.x's agents say about a turn, for apps that yield it as it is."""
    if adapter.generation == 1:
        pytest.skip("2.x only")
    from agentscope import event as events

    reply, call = {"reply_id": "r"}, {"reply_id": "r", "tool_call_id": "c"}
    block = {"reply_id": "r", "block_id": "b"}
    media = {"media_type": "image/png", "data": "aGk="}
    turn = [
        events.ReplyStartEvent(**reply, session_id="s", name="bot", created_at="now"),
        events.ModelCallStartEvent(**reply, model_name="m"),
        events.HintBlockEvent(**block, hint="the time"),
        events.ThinkingBlockDeltaEvent(**block, delta="hm"),
        events.ThinkingBlockDeltaEvent(**block, delta=""),
        events.TextBlockDeltaEvent(**block, delta="Hel"),
        events.TextBlockDeltaEvent(**block, delta=""),
        events.ToolCallStartEvent(**call, tool_call_name="add"),
        events.ToolCallDeltaEvent(**call, delta='{"a"'),
        events.ToolCallDeltaEvent(**call, delta=":1}"),
        events.ToolCallEndEvent(**call),
        events.ToolResultStartEvent(**call, tool_call_name="add"),
        events.ToolResultTextDeltaEvent(**call, delta="1"),
        events.ToolResultTextDeltaEvent(**call, delta="2"),
        events.ToolResultDataDeltaEvent(**call, **media),
        events.ToolResultEndEvent(**call, state="success"),
        events.DataBlockStartEvent(**block, media_type="image/png", name="a.png"),
        events.DataBlockDeltaEvent(**block, **media),
        events.DataBlockDeltaEvent(**block, **media),
        events.DataBlockEndEvent(**block),
        events.CustomEvent(name="progress"),
        events.ReplyEndEvent(**reply, session_id="s"),
    ]
    convert = adapter.outgoing()
    assert all(adapter.owns(event) for event in turn)
    chunks = [wire for event in turn for wire in convert(event)]
    data = {"type": "data", "source": PNG}
    assert [chunk["content"] for chunk in chunks] == [
        [{"type": "thinking", "thinking": "hm"}],
        "Hel",
        [{"type": "tool_call", "id": "c", "name": "add", "input": '{"a":1}'}],
        [
            {
                "type": "tool_result",
                "id": "c",
                "name": "add",
                "output": [{"type": "text", "text": "12"}, data],
            }
        ],
        [{"type": "data", "source": {**PNG, "data": "aGk=aGk="}, "name": "a.png"}],
    ]
    head = {"name": "bot", "role": "assistant", "metadata": {"chunk": True}, "id": "r"}
    for chunk in chunks:
        assert {**head, "timestamp": "now"} == {k: v for k, v in chunk.items() if k != "content"}


def test_a_question_to_the_user_is_a_message_of_its_own(adapter: Adapter) -> None:
    if adapter.generation == 1:
        pytest.skip("2.x only")
    from agentscope.event import RequireUserConfirmEvent
    from agentscope.message import ToolCallBlock

    call = ToolCallBlock(id="c", name="add", input=json.dumps({"a": 1}))
    (wire,) = adapter.outgoing()(RequireUserConfirmEvent(reply_id="r", tool_calls=[call]))
    asked = {"id": "c", "name": "add", "input": '{"a": 1}'}
    assert (wire["content"], wire["metadata"]) == ("", {"confirm": [asked]})


def test_events_without_their_beginning_do_no_harm(adapter: Adapter) -> None:
    if adapter.generation == 1:
        pytest.skip("2.x only")
    from agentscope import event as events

    call, block = {"reply_id": "r", "tool_call_id": "c"}, {"reply_id": "r", "block_id": "b"}
    convert = adapter.outgoing()
    assert convert(events.ToolCallDeltaEvent(**call, delta="{}")) == []
    assert convert(events.DataBlockDeltaEvent(**block, media_type="a/b", data="")) == []
    assert convert(events.DataBlockEndEvent(**block)) == []
    (wire,) = convert(events.ToolResultEndEvent(**call, state="error"))
    assert (wire["name"], wire["content"][0]["output"]) == ("assistant", [])


def test_a_run_has_its_id_in_agentscopes_context(adapter: Adapter) -> None:
    import contextvars

    def enter() -> tuple[str, bool]:
        adapter.enter_run("conversation")
        from agentscope import _config

        before = _config.trace_enabled
        adapter.enter_run("conversation", traced=True)
        assert _config.trace_enabled
        return _config.run_id, before

    if adapter.generation == 2:
        adapter.enter_run("conversation", traced=True)
    else:
        assert contextvars.copy_context().run(enter) == ("conversation", False)
