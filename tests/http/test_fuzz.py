"""Requests made by chance: never a 5xx, never a hang, and the app is as healthy as before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_agentrt import SessionContext
from tests.support.driver import Request, call, get, parse_frames, serving, texts

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
CONTENTS = st.one_of(
    st.text(),
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "image", "data", "tool_call", "x"]) | JSON},
            optional={
                "text": st.text() | JSON,
                "source": st.fixed_dictionaries(
                    {"type": st.sampled_from(["url", "base64"]) | JSON},
                    optional={"url": st.text() | JSON, "media_type": st.text(), "data": st.text()},
                ),
            },
        ),
        max_size=3,
    ),
    JSON,
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "session_id": st.text(min_size=1, max_size=300) | JSON,
        "message": st.fixed_dictionaries(
            {},
            optional={
                "content": CONTENTS,
                "role": st.sampled_from(["user", "assistant"]) | JSON,
                "name": st.text() | JSON,
                "metadata": st.dictionaries(st.text(), JSON, max_size=3) | JSON,
            },
        )
        | JSON,
        "metadata": st.fixed_dictionaries({}, optional={"user_id": st.text() | JSON}) | JSON,
        "confirm": st.lists(JSON, max_size=2) | JSON,
        "extra": JSON,
    },
)
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def echo(msg: dict[str, Any], ctx: SessionContext) -> AsyncIterator[Any]:
    yield {"content": msg["content"], "metadata": ctx.metadata}


def ask(backend: tuple[str, dict[str, Any]], *requests: Request) -> list[Any]:
    """Send requests to an app of their own, and check that it is healthy afterwards."""

    async def main() -> list[Any]:
        async with serving(echo, api_key=None) as agent:
            answers = [await call(agent, request) for request in requests]
            assert (await call(agent, get("/health"))).json["status"] == "healthy"
            assert texts((await call(agent)).events) == ["hello"]
            assert len(agent.runtime.runs) == 0
        return answers

    return anyio.run(main, backend=backend[0], backend_options=backend[1])


def assert_clean(answer: Any) -> None:
    """Either a stream that ends as it should, or a refusal with its code."""
    if answer.status == 200 and answer.headers["content-type"] == "text/event-stream":
        frames = parse_frames(answer.content)
        assert frames[-1].body["metadata"] == {"done": True}
    elif answer.status >= 400:
        assert answer.status < 500, answer.content
        assert not answer.content or set(answer.json) == {"error"}


@FEW
@given(body=BODIES)
def test_any_json_is_answered_or_refused(anyio_backend: Any, body: dict[str, Any]) -> None:
    [answer] = ask(anyio_backend, Request([json.dumps(body).encode()]))
    assert_clean(answer)
    if answer.status == 200:
        given_content = body["message"]["content"] if body.get("message") else ""
        if isinstance(given_content, str):
            assert answer.events[0].body["content"] == given_content
    else:
        assert answer.error_code == "INVALID_REQUEST"


@FEW
@given(parts=st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_any_bytes_are_refused(anyio_backend: Any, parts: list[bytes]) -> None:
    [answer] = ask(anyio_backend, Request(parts))
    assert answer.status == 400
    assert answer.error_code == "INVALID_REQUEST"


@FEW
@given(data=st.data(), body=BODIES)
def test_a_damaged_body_is_answered_or_refused(
    anyio_backend: Any, data: st.DataObject, body: dict[str, Any]
) -> None:
    raw = bytearray(json.dumps({"session_id": "s", "message": {"content": "x"}, **body}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    assert_clean(ask(anyio_backend, Request([bytes(raw)]))[0])


NAMES = st.sampled_from(
    ["content-type", "accept", "content-length", "authorization", "content-encoding", "expect"]
)
VALUES = st.text(st.characters(max_codepoint=255), max_size=30) | st.sampled_from(
    ["application/json", "text/event-stream", "identity", "Bearer x", "5", ",", ";", "a/b;c=d"]
)


@FEW
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"]) | st.text(),
    path=st.sampled_from(["/invoke", "/health", "/health/ready", "/invoke/", "/", ""]) | st.text(),
    headers=st.dictionaries(NAMES, VALUES, max_size=4),
    body=st.sampled_from([b"", b"{}", json.dumps({"session_id": "s"}).encode()]) | st.binary(),
    extra=st.fixed_dictionaries(
        {},
        optional={
            "root_path": st.sampled_from(["", "/agent", "/agent/", "agent"]) | st.text(),
            "raw_path": st.binary() | st.none(),
            "query_string": st.binary(),
            "http_version": st.sampled_from(["1.0", "1.1", "2", "3"]),
        },
    ),
)
def test_any_head_is_answered_or_refused(
    anyio_backend: Any,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    extra: dict[str, Any],
) -> None:
    request = Request([body], method=method, path=path, headers=headers, extra=extra)
    request.headers = headers
    [answer] = ask(anyio_backend, request)
    assert_clean(answer)
    assert answer.status in (200, 204, 400, 404, 405, 413, 415)
