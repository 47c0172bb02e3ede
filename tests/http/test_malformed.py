"""Requests that are wrong: each gets a clean refusal and leaves everything as it was."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from asgi_agentrt import Msg, SessionContext
from tests.support.driver import JSON_HEADERS, Request, call, invocation, serving, texts


async def echo(msg: dict[str, Any], ctx: SessionContext) -> AsyncIterator[Any]:
    yield {"content": msg["content"], "metadata": {"given": ctx.metadata, "msg": msg["metadata"]}}


GOOD: dict[str, Any] = {"session_id": "s1", "message": {"content": "hello"}}

WRONG_TYPES = [None, True, 0, -1, 1.5, "", "other", [], ["a"], {}, {"a": 1}]


def without(*keys: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key not in keys}).encode()


def having(**fields: Any) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


def saying(**fields: Any) -> bytes:
    return having(message={"content": "hello", **fields})


def blocks(*given: Any) -> bytes:
    return saying(content=list(given))


def cases() -> list[tuple[str, bytes, str]]:  # noqa: C901  a table
    """Name, body, and what the refusal says."""
    found: list[tuple[str, bytes, str]] = []

    def refuse(name: str, body: bytes, reason: str) -> None:
        found.append((name, body, reason))

    # ---- not JSON ---------------------------------------------------------------------------
    whole = json.dumps(GOOD).encode()
    for cut in range(len(whole)):
        refuse(f"cut after {cut} bytes", whole[:cut], "the body is not JSON: ")
    for text in (
        *(" ", "\n", "-", "+1", ".5", "1.", "01", "0x10", "1e", "1e+", "--1", "1_000"),
        *("nul", "True", "None", "undefined", "'a'", '"', '"\\', '"\\u12', '"\\x"', '"\\ud8"'),
        *("[", "]", "{", "}", "[1,]", '{"a":}', '{"a" 1}', '{"a":1,}', "{a:1}", "[1 2]", "[1]]"),
        *("//c\n{}", "{}/**/", "{} {}", '{"a":1}x', '"\t"', '"\n"', "\x00", "{}\x00", "\x0c{}"),
        *("&#123;", "session_id=s1", "<xml/>", "--boundary\r\n", "%7B%7D"),
    ):
        refuse(f"no JSON: {text!r}", text.encode(), "the body is not JSON: ")
    for constant in ("NaN", "Infinity", "-Infinity"):
        reason = f"the body is not JSON: {constant} is no JSON number"
        refuse(constant, constant.encode(), reason)
        refuse(f"{constant} inside", having(metadata={"n": "#"}).replace(b'"#"', constant.encode()),
               reason)  # fmt: skip
    # ---- encodings --------------------------------------------------------------------------
    refuse("BOM", b"\xef\xbb\xbf" + whole, "the body must not begin with a byte order mark")
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-32-be"):
        refuse(encoding, whole.decode().encode(encoding), "the body is not ")
    for name, raw in {
        "latin-1": b"\xe9",
        "stray continuation": b"\x80",
        "overlong": b"\xc0\xaf",
        "encoded surrogate": b"\xed\xa0\x80",
        "beyond Unicode": b"\xf4\x90\x80\x80",
        "cut character": b"\xf0\x9f\x98",
        "no byte of UTF-8": b"\xff",
    }.items():
        refuse(name, saying(content="#").replace(b"#", raw), "the body is not UTF-8")
    for name, escape in {
        "high surrogate": r"\ud800",
        "low surrogate": r"\udc00",
        "surrogates the wrong way": r"\udc00\ud800",
        "surrogate before text": r"\ud83dx",
    }.items():
        reason = "the body holds a lone surrogate"
        refuse(f"{name} in the text", saying(content="#").replace(b"#", escape.encode()), reason)
        refuse(f"{name} in the id", having(session_id="#").replace(b"#", escape.encode()), reason)
        refuse(f"{name} as a key", having(metadata={"#": 1}).replace(b"#", escape.encode()), reason)
    # ---- numbers ----------------------------------------------------------------------------
    for name, number, reason in (
        ("1e999", "1e999", "the body holds a number that is too large"),
        ("-1e400", "-1e400", "the body holds a number that is too large"),
        ("5000 digits", "9" * 5000, "the body holds a number that is too long"),
        ("-100000 digits", "-" + "9" * 100_000, "the body holds a number that is too long"),
        ("many digits and an exponent", "9" * 400 + ".5", "a number that is too large"),
    ):
        body = having(metadata={"n": "#"}).replace(b'"#"', number.encode())
        refuse(f"number {name}", body, reason)
    # ---- nesting ----------------------------------------------------------------------------
    nested = "is nested deeper than 64 levels"
    for levels in (65, 1000, 100_000):
        for name, opening, closing in (("lists", "[", "]"), ("objects", '{"a":', "}")):
            inner = opening * levels + "1" + closing * levels
            refuse(f"{levels} {name}", inner.encode(), nested)
            body = having(metadata={"n": "#"}).replace(b'"#"', inner.encode())
            refuse(f"{levels} {name} inside", body, nested)
    refuse("100000 lists left open", b"[" * 100_000, nested)
    refuse("wide and deep", having(metadata={"a": [[]] * 1000, "b": "#"}).replace(
        b'"#"', b"[" * 70 + b"]" * 70), nested)  # fmt: skip
    # ---- keys -------------------------------------------------------------------------------
    twice = "the same key twice"
    refuse("two session ids", whole[:-1] + b',"session_id":"other"}', twice)
    refuse("two contents", b'{"session_id":"s","message":{"content":"a","content":"b"}}', twice)
    refuse("equal keys, one escaped", b'{"session_id":"s","session_i\\u0064":"t"}', twice)
    # ---- types ------------------------------------------------------------------------------
    for value in WRONG_TYPES:
        text = json.dumps(value)
        if not isinstance(value, dict):
            refuse(f"body {text}", text.encode(), "the body must be a JSON object")
            if value is not None:
                refuse(f"message {text}", having(message=value), "message must be an object")
                refuse(f"metadata {text}", having(metadata=value), "metadata must be an object")
                refuse(f"message.metadata {text}", saying(metadata=value),
                       "message.metadata must be an object")  # fmt: skip
            refuse(f"block {text}", blocks(value), "message.content[0] must be an object")
            refuse(f"source {text}", blocks({"type": "image", "source": value}),
                   "message.content[0].source must be an object")  # fmt: skip
        if not isinstance(value, str):
            if value is not None:
                refuse(f"session_id {text}", having(session_id=value),
                       "session_id must be a string")  # fmt: skip
                refuse(f"user_id {text}", having(metadata={"user_id": value}),
                       "metadata.user_id must be a string")  # fmt: skip
            refuse(f"name {text}", saying(name=value), "message.name must be a string")
            refuse(f"text {text}", blocks({"type": "text", "text": value}),
                   "message.content[0].text must be a string")  # fmt: skip
            source = {"type": "url", "url": value}
            refuse(f"url {text}", blocks({"type": "image", "source": source}),
                   "message.content[0].source.url must be a string")  # fmt: skip
        if not isinstance(value, list) and value is not None:
            refuse(f"confirm {text}", having(confirm=value), "confirm must be a list")
            if not isinstance(value, str):
                refuse(f"content {text}", saying(content=value),
                       "message.content must be a string or a list of blocks")  # fmt: skip
        refuse(f"role {text}", saying(role=value), 'message.role must be "user"')
        refuse(f"type {text}", blocks({"type": value}), "message.content[0].type must be one of ")
        refuse(f"source.type {text}", blocks({"type": "image", "source": {"type": value}}),
               'message.content[0].source.type must be "url" or "base64"')  # fmt: skip
    # ---- what is missing --------------------------------------------------------------------
    refuse("no session_id", without("session_id"), "session_id is required")
    refuse("null session_id", having(session_id=None), "session_id is required")
    refuse("no message", without("message"), "message is required")
    refuse("null message", having(message=None), "message is required")
    refuse("empty message", having(message={}), "message.content is required")
    refuse("null content", saying(content=None), "message.content is required")
    refuse("no media type", blocks({"type": "audio", "source": {"type": "base64", "data": "aGk="}}),
           "message.content[0].source.media_type must be a string")  # fmt: skip
    refuse("no data", blocks({"type": "data", "source": {"type": "base64", "media_type": "a/b"}}),
           "message.content[0].source.data must be a string")  # fmt: skip
    # ---- what nobody may say ----------------------------------------------------------------
    for role in ("assistant", "system", "tool", "User", "user "):
        refuse(f"role {role}", saying(role=role), 'message.role must be "user"')
    for kind in ("tool_call", "tool_use", "tool_result", "thinking", "hint", "TEXT"):
        mixed = blocks({"type": "text", "text": "a"}, {"type": kind, "text": "a"})
        allowed = "must be one of text, image, audio, video, data"
        refuse(f"block {kind}", mixed, f"message.content[1].type {allowed}")
    # ---- ids --------------------------------------------------------------------------------
    refuse("empty id", having(session_id=""), "session_id must not be empty")
    too_long = "must not be longer than 256 characters"
    refuse("id of 257", having(session_id="x" * 257), f"session_id {too_long}")
    refuse("user of 257", having(metadata={"user_id": "ü" * 257}), f"metadata.user_id {too_long}")
    for control in ("\x00", "\n", "\r", "\x1b", "\x1f", "\x7f", "\x80", "\x85", "\x9f"):
        reason = "must not hold control characters"
        refuse(f"id with {control!r}", having(session_id=f"a{control}b"), f"session_id {reason}")
        refuse(f"user with {control!r}", having(metadata={"user_id": control}),
               f"metadata.user_id {reason}")  # fmt: skip
    return found


CASES = cases()


def test_there_are_many_of_them() -> None:
    assert len(CASES) > 300
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize("first", range(0, len(CASES), 20), ids=lambda first: f"from-{first}")
async def test_what_is_wrong_is_refused_and_said(first: int) -> None:
    async with serving(echo) as agent:
        for name, body, reason in CASES[first : first + 20]:
            answer = await call(agent, Request([body]))
            assert answer.status == 400, f"{name}: {answer.content[:200]!r}"
            assert answer.headers["content-type"] == "application/json"
            error = answer.json["error"]
            assert error["code"] == "INVALID_REQUEST", name
            assert reason in error["message"], f"{name}: {error['message']}"
            assert len(error["message"]) < 200, name
        assert len(agent.runtime.runs) == 0
        assert agent.runtime.runs.activity.total_requests == 0
        assert texts((await call(agent)).events) == ["hello"]


@pytest.mark.parametrize(
    ("fields", "content", "metadata"),
    [
        ({}, "hello", {}),
        ({"metadata": None}, "hello", {}),
        ({"confirm": None}, "hello", {}),
        ({"unknown": [1, {"x": None}]}, "hello", {}),
        ({"session_id": "x" * 256}, "hello", {}),
        ({"session_id": " "}, "hello", {}),
        ({"session_id": "../../etc/passwd"}, "hello", {}),
        ({"session_id": "ключ \U0001f511 \u2028"}, "hello", {}),
        ({"metadata": {"user_id": ""}}, "hello", {"user_id": ""}),
        ({"metadata": {"user_id": None, "n": 1e308}}, "hello", {"user_id": None, "n": 1e308}),
        ({"metadata": {"n": 10**4000}}, "hello", {"n": 10**4000}),
        ({"metadata": {"": "", "__proto__": 1, "\x00": "\x00"}}, "hello",
         {"": "", "__proto__": 1, "\x00": "\x00"}),
        ({"message": {"content": ""}}, "", {}),
        ({"message": {"content": []}}, [], {}),
        ({"message": {"content": "\x00\x7f\U0001f600"}}, "\x00\x7f\U0001f600", {}),
        ({"message": {"content": "x", "role": "user", "name": ""}}, "x", {}),
        (
            {"message": {"content": [{"type": "text", "text": "a", "cache_control": {"x": 1}}]}},
            [{"type": "text", "text": "a"}],
            {},
        ),
        (
            {"message": {"content": [{"type": "image", "id": 1, "source": {
                "type": "url", "url": "https://e.example/i.png", "token": "t"}}]}},
            [{"type": "image", "source": {"type": "url", "url": "https://e.example/i.png"}}],
            {},
        ),
        (
            {"message": {"content": [{"type": "data", "source": {
                "media_type": "a/b", "data": "aGk=", "type": "base64"}}]}},
            [{"type": "data", "source": {
                "type": "base64", "media_type": "a/b", "data": "aGk="}}],
            {},
        ),
    ],
)  # fmt: skip
async def test_what_is_right_is_taken_as_it_came(
    fields: dict[str, Any], content: object, metadata: dict[str, Any]
) -> None:
    async with serving(echo) as agent:
        answer = await call(agent, Request([json.dumps({**GOOD, **fields}).encode()]))
    assert answer.status == 200
    assert answer.events[0].body["content"] == content
    assert answer.events[0].body["metadata"] == {"given": metadata, "msg": {}}


async def test_confirm_may_come_without_a_message() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:
        yield {"content": msg.content, "metadata": {"confirm": ctx.confirm}}

    async with serving(app) as agent:
        body = json.dumps({"session_id": "s", "confirm": [{"id": "c1", "confirmed": True}]})
        answer = await call(agent, Request([body.encode()]))
    assert answer.events[0].body["content"] == ""
    assert answer.events[0].body["metadata"] == {"confirm": [{"id": "c1", "confirmed": True}]}


async def test_sixty_four_levels_are_not_too_deep() -> None:
    inner: Any = 1
    for _ in range(62):  # the body and `metadata` are two more
        inner = [inner]
    async with serving(echo) as agent:
        assert (await call(agent, invocation(metadata={"n": inner}))).status == 200
        assert (await call(agent, invocation(metadata={"n": [inner]}))).status == 400


async def test_a_body_may_come_in_any_pieces() -> None:
    whole = json.dumps({**GOOD, "message": {"content": "höllo"}}, ensure_ascii=False).encode()
    dice = random.Random(5)
    async with serving(echo) as agent:
        for _ in range(20):
            cuts = sorted(dice.choices(range(len(whole) + 1), k=dice.randrange(1, 12)))
            parts = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
            assert texts((await call(agent, Request(parts))).events) == ["höllo"]
        one_by_one = [bytes([byte]) for byte in whole]
        assert texts((await call(agent, Request(one_by_one))).events) == ["höllo"]


@pytest.mark.parametrize("announced", [True, False])
async def test_ten_megabytes_are_refused_as_soon_as_they_are_too_much(announced: bool) -> None:
    parts = [b" " * 65536] * 160
    headers = {**JSON_HEADERS, **({"content-length": str(65536 * 160)} if announced else {})}
    async with serving(echo) as agent:
        answer = await call(agent, Request(parts, headers=headers))
        assert answer.status == 413
        assert answer.error_code == "PAYLOAD_TOO_LARGE"
        assert (await call(agent)).status == 200


@pytest.mark.parametrize(
    "length", ["-1", "x", "", "1e3", "٣", "9" * 30, " 5", "5, 5", "0x5", "²"], ids=ascii
)
async def test_a_strange_content_length_breaks_nothing(length: str) -> None:
    """Servers refuse most of these themselves; not all of them do, and bridges make their own."""
    async with serving(echo) as agent:
        request = invocation()
        request.headers = {**JSON_HEADERS, "content-length": length}
        assert (await call(agent, request)).status in (200, 400, 413)
