"""Messages: their wire form, and JSON whose faults are named."""

from __future__ import annotations

import collections
import copy
import enum
import json
import math
import pickle
import sys
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_agentrt import Msg
from asgi_agentrt._message import done_message, encode_json, to_wire
from asgi_agentrt.exceptions import MessageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)  # fmt: skip


def test_a_message_is_written_in_this_order() -> None:
    message = Msg("bot", "hi", "assistant", {"a": 1}, id="i", timestamp="t")
    assert list(message.to_dict()) == ["name", "content", "role", "metadata", "id", "timestamp"]
    assert list(Msg("bot", "hi", "user").to_dict()) == ["name", "content", "role", "metadata"]


@given(
    st.builds(
        Msg,
        name=TEXT,
        content=TEXT | st.lists(st.dictionaries(TEXT, JSON), max_size=3),
        role=st.sampled_from(["user", "assistant", "system"]),
        metadata=st.dictionaries(TEXT, JSON, max_size=3),
        id=st.none() | TEXT,
        timestamp=st.none() | TEXT,
    )
)
def test_a_message_survives_the_wire(message: Msg) -> None:
    wire = to_wire(message)
    assert Msg.from_dict(json.loads(encode_json(wire))) == message
    assert to_wire(wire) == wire


def test_metadata_that_is_none_is_sent_as_an_empty_object() -> None:
    assert Msg("a", "b", "user", None).to_dict()["metadata"] == {}


@pytest.mark.parametrize("role", ["tool", "", "User", None])
def test_a_role_is_one_of_three(role: Any) -> None:
    with pytest.raises(ValueError, match="role must be one of user, assistant, system"):
        Msg("a", "b", role)


def test_messages_are_copied_and_pickled() -> None:
    message = Msg("bot", [{"type": "text", "text": "hi"}], "assistant", {"a": [1]})
    assert copy.deepcopy(message) == message
    assert pickle.loads(pickle.dumps(message)) == message


def test_two_messages_share_no_metadata() -> None:
    first, second = Msg("a", "b", "user"), Msg("a", "b", "user")
    assert first.metadata is not None
    first.metadata["x"] = 1
    assert second.metadata == {}


def test_the_done_message() -> None:
    assert done_message()["metadata"] == {"done": True}
    assert done_message(error=True)["metadata"] == {"done": True, "error": True}


class Gives:
    def __init__(self, given: Any) -> None:
        self.given = given

    def to_dict(self) -> Any:
        return self.given


class Dumps:
    def model_dump(self, *, mode: str) -> Any:
        return {"content": mode}


@pytest.mark.parametrize(
    ("item", "content"),
    [
        ("text", "text"),
        ({"content": "a"}, "a"),
        (MappingProxyType({"content": "a"}), "a"),
        (collections.OrderedDict(content="a"), "a"),
        (Gives({"content": "a"}), "a"),
        (Dumps(), "json"),
    ],
)
def test_many_things_are_messages(item: object, content: str) -> None:
    wire = to_wire(item)
    assert wire["content"] == content
    assert wire["role"] == "assistant"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "is of type NoneType"),
        (b"x", "is of type bytes"),
        (Gives(None), "is of type Gives, which gives no mapping"),
        (Gives([1]), "is of type Gives, which gives no mapping"),
        ({"role": "user"}, "message has no content"),
        ({"content": "x", "role": None}, "role must be one of"),
    ],
)
def test_others_are_not(item: object, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        to_wire(item)


def test_a_str_enum_is_text() -> None:
    class Colour(enum.StrEnum):
        RED = "red"

    assert encode_json(to_wire(Colour.RED)).startswith(b'{"name":"assistant","content":"red"')


# ---- JSON --------------------------------------------------------------------------------------


@given(JSON)
@example("\u2028\x7f\x85\ufeff\U0010ffff\x00")
def test_json_is_what_pythons_own_is_but_compact_and_utf8(value: Any) -> None:
    encoded = encode_json(value)
    assert json.loads(encoded) == value
    assert b"\n" not in encoded
    assert b"\r" not in encoded
    assert encoded == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@given(st.recursive(
    JSON | st.floats() | st.text() | st.binary() | st.sets(st.integers()) | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text() | st.integers() | st.binary() | st.floats(), inner),
    max_leaves=15,
))  # fmt: skip
def test_whatever_cannot_be_sent_is_refused_with_one_line(value: Any) -> None:
    refusal = ""
    try:
        json.loads(encode_json(value))
    except MessageError as error:
        refusal = error.reason
        str(error).encode()  # it will be sent
    assert "\n" not in refusal


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (object(), "", "is of type object"),
        ([1, 2, {3}], "[2]", "is of type set"),
        ({"a": [{"b": 1j}]}, "a[0].b", "is of type complex"),
        ({"a": math.nan}, "a", "is not a finite number"),
        ({"a": (1, -math.inf)}, "a[1]", "is not a finite number"),
        ({"a": "\udfff"}, "a", "holds a lone surrogate"),
        ({"a": {b"k": 1}}, "a", "has a key of type bytes"),
        ({None: object()}, "None", "is of type object"),
        ({True: object()}, "True", "is of type object"),
        ({math.inf: 1}, "", "has a key that is not a finite number"),
        ({"x" * 500: object()}, "x" * 100 + "…", "is of type object"),
        ([10**5000], "[0]", "has too many digits"),
        ({10**5000: 1}, "", "has a key that has too many digits"),
    ],
)
def test_a_fault_is_named_by_its_path_and_type(value: Any, path: str, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        encode_json(value)
    assert (caught.value.path, caught.value.reason) == (path, reason)


def test_a_circle_is_a_fault() -> None:
    circle: dict[str, Any] = {}
    circle["a"] = [circle]
    with pytest.raises(MessageError, match="is nested deeper than 200 levels") as caught:
        encode_json(circle)
    assert len(caught.value.path) < 110


def test_what_is_deep_but_no_circle_is_sent() -> None:
    value: Any = 1
    for _ in range(190):
        value = [value]
    assert encode_json(value) == b"[" * 190 + b"1" + b"]" * 190


def test_big_numbers_may_be_allowed_by_the_process() -> None:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        assert encode_json(10**5000) == b"1" + b"0" * 5000
    finally:
        sys.set_int_max_str_digits(limit)
