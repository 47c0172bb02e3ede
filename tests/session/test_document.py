"""JSON in small steps: the same as in one, and errors that say where."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_agentrt._session import _document
from asgi_agentrt._session._document import (
    NotJsonError,
    copy_json,
    decode_document,
    encode_document,
    is_same_json,
)
from asgi_agentrt.exceptions import SessionCorruptError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(document=st.dictionaries(st.text(st.characters()), json_values, max_size=4))
def test_what_is_encoded_in_steps_is_decoded_alike(document: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_document, "_STEP_BYTES", 40)
        patch.setattr(_document, "_SLICE", 3)
        content = b"".join(encode_document(document))
    assert is_same_json(decode_document(content, "x"), document)
    assert json.loads(content) == document


def test_big_documents_are_encoded_in_many_steps() -> None:
    document = {
        "memory": {"content": [[{"text": "x" * 1000, "number": n}, []] for n in range(3000)]}
    }
    pieces = encode_document(document)
    assert decode_document(b"".join(pieces), "x") == document
    assert max(map(len, pieces)) < 200_000


class Opaque:
    pass


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, {"b": Opaque()}]}, r"a\[1\]\.b is of type Opaque"),
        ({"a": float("nan")}, "a is not a finite number"),
        ({"a": {(1, 2): 3}}, "a has a key of type tuple"),
        ({"a": b"secret"}, "a is of type bytes"),
        ({"big": ["x" * 50_000] * 3 + [Opaque()]}, r"big\[3\] is of type Opaque"),
        (loop(), "nested deeper"),
    ],
)
def test_what_is_not_json_is_named_and_never_shown(value: Any, text: str) -> None:
    with pytest.raises(
        NotJsonError, match=f'the state of "memory" cannot be saved: .*{text}'
    ) as got:
        encode_document({"fine": {}, "memory": value})
    assert "secret" not in str(got.value)
    assert got.value.__cause__ is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b'{"a": ', "at byte"),
        (b"[1]", "not a JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"a": ' + b"1" * 5000 + b"}", "ValueError"),
    ],
)
def test_what_is_no_document_is_corrupt(content: bytes, reason: str) -> None:
    with pytest.raises(SessionCorruptError, match=f"the file x is no session: .*{reason}"):
        decode_document(content, "the file x")


def test_halves_of_characters_survive_in_files_that_are_valid_utf8() -> None:
    document = {"\ud83d": {"text": "cut \ud83d", "\udc00": ["\\ud83d é😀"]}}
    content = b"".join(encode_document(document))
    content.decode()
    assert decode_document(content, "x") == document


def test_a_copy_shares_no_container() -> None:
    value = {"a": [{"b": [1, "x"]}], "t": (1, [2])}
    copied = copy_json(value)
    assert copied == {"a": [{"b": [1, "x"]}], "t": [1, [2]]}
    copied["a"][0]["b"].append(2)
    copied["t"][1].append(3)
    assert value == {"a": [{"b": [1, "x"]}], "t": (1, [2])}


def test_equal_numbers_of_other_kinds_are_not_the_same_json() -> None:
    assert is_same_json({"a": [1, 1.5, None]}, {"a": [1, 1.5, None]})
    for one, other in [(1, True), (1, 1.0), ([1], [True]), ({"a": 0}, {"a": False}), ([1], [1, 2])]:
        assert not is_same_json(one, other)
    assert not is_same_json({"a": 1, "b": 2}, {"b": 2, "a": 1})
