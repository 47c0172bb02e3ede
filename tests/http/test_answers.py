"""What is answered before, and instead of, a stream: every code, every header, JSON mode."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentApp, AgentRuntimeASGI, Msg, SessionContext
from asgi_agentrt._server import _invoke
from asgi_agentrt._server._answers import STATUS
from asgi_agentrt._server._parsing import parse_invocation
from asgi_agentrt._session import SessionHold
from tests.support.driver import (
    JSON_HEADERS,
    LIMIT_S,
    Exchange,
    Request,
    call,
    get,
    invocation,
    open_stream,
    serving,
    texts,
    until,
)


async def echo(msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:
    if msg.content == "raise":
        raise ValueError("the password is hunter2")
    if msg.content == "wait":
        yield "waiting"
        await anyio.sleep_forever()
    if msg.content == "bad":
        yield object()
    yield {"content": msg.content, "metadata": ctx.metadata}


def assert_error(answer: Exchange, code: str, message: str | None = None) -> None:
    assert answer.status == STATUS[code]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["cache-control"] == "no-store"
    assert list(answer.json) == ["error"]
    assert list(answer.json["error"]) == ["code", "message"]
    assert answer.json["error"]["code"] == code
    if message is not None:
        assert answer.json["error"]["message"] == message
    assert (
        answer.content
        == json.dumps(answer.json, separators=(",", ":"), ensure_ascii=False).encode()
    )


# ---- routes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/", "", "/invoke/x", "/invokes", "/Invoke", "/health/x", "/healthz", "//", "/health/live/x"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_other_paths_are_not_found(path: str, method: str) -> None:
    async with serving(echo) as agent:
        answer = await call(agent, Request(method=method, path=path))
    assert_error(answer, "NOT_FOUND", "there is POST /invoke and GET /health")


@pytest.mark.parametrize("slashes", ["", "/", "//"])
async def test_a_trailing_slash_makes_no_difference(slashes: str) -> None:
    async with serving(echo) as agent:
        request = invocation()
        request.path += slashes
        assert (await call(agent, request)).status == 200
        for path in ("/health", "/health/live", "/health/ready"):
            assert (await call(agent, get(path + slashes))).status == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/invoke", "POST, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
        ("/health/live", "GET, HEAD, OPTIONS"),
        ("/health/ready", "GET, HEAD, OPTIONS"),
    ],
)
async def test_methods_are_what_they_should_be(path: str, allowed: str) -> None:
    async with serving(echo) as agent:
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW", "get"):
            if method in allowed.split(", "):
                continue
            answer = await call(agent, Request(method=method, path=path))
            assert answer.status == 405, method
            assert answer.headers["allow"] == allowed
            if method == "HEAD":
                assert answer.content == b""
            else:
                assert_error(answer, "METHOD_NOT_ALLOWED", f"allowed: {allowed}")
        options = await call(agent, Request(method="OPTIONS", path=path))
    assert (options.status, options.content) == (204, b"")
    assert options.headers == {"allow": allowed}


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    async with serving(echo) as agent:
        for path in ("/health", "/health/live", "/health/ready"):
            with_body = await call(agent, get(path))
            without = await call(agent, Request(method="HEAD", path=path))
            assert without.content == b""
            assert without.headers == with_body.headers


async def test_no_answer_speaks_of_cors_unless_asked_to() -> None:
    origin = {"origin": "https://elsewhere.example"}
    async with serving(echo) as agent:
        request = invocation()
        request.headers = {**request.headers, **origin}
        preflight = Request(
            method="OPTIONS", headers={**origin, "access-control-request-method": "POST"}
        )
        for answer in [await call(agent, request), await call(agent, preflight)]:
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with serving(echo) as agent:
        await agent({"type": "websocket", "path": "/invoke"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1003}]


# ---- codes -------------------------------------------------------------------------------------


async def test_invalid_request() -> None:
    async with serving(echo) as agent:
        answer = await call(agent, Request([b"{}"]))
    assert_error(answer, "INVALID_REQUEST", "session_id is required")


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic s3cret",
        "s3cret",
        "Bearer s3cret x",
        "Bearer S3CRET",
        "Bearer s3cret, Bearer s3cret",
        "Bearer s\xe9cret",
    ],
)
async def test_without_the_api_key_nothing_is_told(given: str | None) -> None:
    async with serving(echo, api_key="s3cret") as agent:
        request = invocation()
        if given is not None:
            request.headers = {**request.headers, "authorization": given}
        answer = await call(agent, request)
        assert_error(answer, "UNAUTHORIZED", "a valid API key is required")
        assert answer.headers["www-authenticate"] == "Bearer"
        # Who has no key learns nothing about what a request should be.
        request.parts = [b"not json"]
        assert_error(await call(agent, request), "UNAUTHORIZED")
        assert len(agent.runtime.runs) == 0


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_with_the_api_key_all_is_as_ever(scheme: str) -> None:
    async with serving(echo, api_key="s3cret") as agent:
        request = invocation()
        request.headers = {**request.headers, "authorization": f"{scheme} s3cret"}
        assert (await call(agent, request)).status == 200


async def test_health_needs_no_api_key() -> None:
    async with serving(echo, api_key="s3cret") as agent:
        for path in ("/health", "/health/live", "/health/ready"):
            answer = await call(agent, get(path))
            assert answer.status == 200
            assert b"s3cret" not in answer.content


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "application/jsonp",
        "application/json, application/json",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "json",
    ],
)
async def test_other_media_types_are_unsupported(content_type: str | None) -> None:
    async with serving(echo) as agent:
        request = invocation()
        request.headers = {} if content_type is None else {"content-type": content_type}
        assert_error(await call(agent, request), "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; profile=x",
        "application/ld+json",
        " application/json ",
    ],
)
async def test_every_way_to_say_json_is_understood(content_type: str) -> None:
    async with serving(echo) as agent:
        request = invocation()
        request.headers = {"content-type": content_type}
        assert (await call(agent, request)).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_unsupported(encoding: str) -> None:
    async with serving(echo) as agent:
        request = invocation()
        request.headers = {**request.headers, "content-encoding": encoding}
        assert_error(await call(agent, request), "UNSUPPORTED_MEDIA_TYPE")


async def test_a_body_over_the_limit_is_too_large() -> None:
    request = invocation()
    size = len(request.parts[0])
    async with serving(echo, max_body_bytes=size) as agent:
        assert (await call(agent, request)).status == 200
        # Announced: refused without reading a byte of it.
        announced = Request([b""], headers={**JSON_HEADERS, "content-length": str(size + 1)})
        message = f"the body is larger than {size} bytes"
        assert_error(await call(agent, announced), "PAYLOAD_TOO_LARGE", message)
        # Not announced, or announced falsely: refused as soon as it is too much.
        for headers in (JSON_HEADERS, {**JSON_HEADERS, "content-length": "5"}):
            parts = [b" " * size, b" ", b" " * 1_000_000]
            sent = Exchange(Request(parts, headers=headers))
            async with open_stream(agent, exchange=sent) as answer:
                await answer.ended()
            assert_error(answer, "PAYLOAD_TOO_LARGE", message)
            assert len(sent._parts) == 1


async def test_a_busy_session_is_refused_with_the_run_that_holds_it() -> None:
    async with (
        serving(echo, session={"concurrency": "reject"}) as agent,
        open_stream(agent, invocation(content="wait")) as first,
    ):
        await first.next_event()
        second = await call(agent, invocation(content="second"))
        assert_error(second, "SESSION_BUSY")
        run_id = first.headers["x-run-id"]
        assert run_id in second.json["error"]["message"]
        assert second.headers["x-run-id"] == run_id
        assert second.headers["retry-after"] == "1"
        assert (await call(agent, invocation("other"))).status == 200
        metadata = {"user_id": "somebody else"}
        assert (await call(agent, invocation(metadata=metadata))).status == 200


async def test_an_overload_is_refused_and_passes() -> None:
    async with serving(echo, max_concurrency=1) as agent:
        async with open_stream(agent, invocation(content="wait")) as first:
            await first.next_event()
            refused = await call(agent, invocation("other"))
            assert_error(refused, "OVERLOADED", "too many invocations are running")
            assert refused.headers["retry-after"] == "1"
            assert "x-run-id" not in refused.headers
        with anyio.fail_after(LIMIT_S):
            while (await call(agent, invocation("other"))).status != 200:
                pass


class Broken(AgentApp):
    async def on_startup(self) -> None:
        raise ValueError("hunter2")

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:
        yield ""


async def test_a_runtime_that_did_not_start_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Broken) as agent:
        answer = await call(agent)
        assert_error(answer, "NOT_READY", "the runtime could not start; it will be tried again")
        assert int(answer.headers["retry-after"]) >= 1
        health = await call(agent, get("/health"))
        assert (health.status, health.json["status"]) == (503, "unhealthy")
        assert (await call(agent, get("/health/ready"))).status == 503
        assert (await call(agent, get("/health/live"))).status == 200
        for each in (answer, health):
            assert b"hunter2" not in each.content
    assert "hunter2" in caplog.text


async def test_a_runtime_that_was_stopped_is_not_ready() -> None:
    async with serving(echo) as agent:
        pass
    answer = await call(agent)
    assert_error(answer, "NOT_READY", "the runtime was stopped")
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_runtime_that_drains_is_not_ready_and_ends_its_streams() -> None:
    async with serving(echo, drain_timeout=0.1) as agent:
        async with open_stream(agent, invocation(content="wait")) as running:
            await running.next_event()
            agent.runtime.drain()
            answer = await call(agent)
            assert_error(answer, "NOT_READY", "the runtime is shutting down")
            assert (await call(agent, get("/health"))).json["status"] == "draining"
            await running.ended()
        error, done = (event.body for event in running.events[-2:])
        assert error["error"] == {
            "code": "CANCELLED",
            "message": "the run was cancelled: shutdown",
        }
        assert done["metadata"] == {"done": True, "error": True}


async def test_an_interrupted_run_says_that_it_was_cancelled() -> None:
    async with serving(echo, session={"concurrency": "interrupt"}) as agent:
        async with open_stream(agent, invocation(content="wait")) as first:
            await first.next_event()
            assert texts((await call(agent, invocation(content="second"))).events) == ["second"]
            await first.ended()
        error, done = (event.body for event in first.events[-2:])
        assert error["error"] == {
            "code": "CANCELLED",
            "message": "the run was cancelled: interrupted",
        }
        assert done["metadata"] == {"done": True, "error": True}


async def test_a_large_body_is_parsed_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[bool] = []

    def parse(body: bytes, user_id: str | None) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return parse_invocation(body, user_id)

    monkeypatch.setattr(_invoke, "parse_invocation", parse)
    async with serving(echo) as agent:
        for size in (10, 100_000):
            answer = await call(agent, invocation(metadata={"text": "x" * size}))
            assert texts(answer.events) == ["hello"]
        refused = await call(agent, invocation(metadata=["x" * 100_000]))
    assert threads == [True, False, False]
    assert_error(refused, "INVALID_REQUEST", "metadata must be an object")


async def test_a_session_that_cannot_be_read_is_an_internal_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgi_agentrt.exceptions import SessionError

    async def fail(*_: object) -> None:
        raise SessionError("redis://hunter2 is down")

    async with serving(echo) as agent:
        monkeypatch.setattr(SessionHold, "load_state", fail)
        answer = await call(agent)
        whole = await call(agent, invocation(accept="application/json"))
    body = {"error": {"code": "INTERNAL", "message": "the session could not be loaded"}}
    assert answer.events[0].body == body
    assert answer.events[1].body["metadata"] == {"done": True, "error": True}
    assert (whole.status, whole.json) == (500, body)
    assert answer.headers["x-run-id"] in caplog.text


async def test_a_state_that_is_no_json_fails_the_run_that_left_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        ctx.state["key"] = {"inner": object()}
        yield "said"

    async with serving(app) as agent:
        answer = await call(agent)
        assert texts(answer.events) == ["said"]
        error = answer.events[1].body["error"]
        assert "could not be saved" in error["message"]
        assert answer.events[2].body["metadata"] == {"done": True, "error": True}
        assert "inner" in caplog.text
        assert (await call(agent)).status == 200


# ---- JSON mode ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        "application/json",
        "APPLICATION/JSON",
        "application/json; q=0.9",
        "application/json, */*;q=0.1",
        "text/html, application/json",
    ],
)
async def test_whoever_accepts_json_gets_one_object(accept: str) -> None:
    async with serving(echo) as agent:
        answer = await call(agent, invocation("s ü", "hällo", accept=accept))
    run_id = answer.headers["x-run-id"]
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert (
        answer.content
        == (
            f'{{"session_id":"s ü","run_id":"{run_id}","messages":[{{"name":"assistant",'
            f'"content":"hällo","role":"assistant","metadata":{{}}}}]}}'
        ).encode()
    )
    assert answer.headers["content-length"] == str(len(answer.content))


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "text/event-stream",
        "text/event-stream, application/json",
        "application/json, text/event-stream",
        "application/json;q=1, Text/Event-Stream;q=0.5",
        "application/xml",
        "application/json-seq",
    ],
)
async def test_everybody_else_gets_the_stream(accept: str | None) -> None:
    async with serving(echo) as agent:
        answer = await call(agent, invocation(accept=accept))
    assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("content", ["raise", "bad"])
async def test_a_failure_in_json_mode_has_a_status(
    content: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(echo) as agent:
        answer = await call(agent, invocation(content=content, accept="application/json"))
    assert_error(answer, "APP_ERROR")
    assert answer.headers["x-run-id"] in caplog.text
    if content == "raise":
        message = f"the app failed; its log names run {answer.headers['x-run-id']}"
        assert answer.json["error"]["message"] == message
    assert b"hunter2" not in answer.content


async def test_an_interrupt_in_json_mode_is_cancelled() -> None:
    async with serving(echo, session={"concurrency": "interrupt"}) as agent:
        request = invocation(content="wait", accept="application/json")
        async with open_stream(agent, request) as first:
            await until(lambda: len(agent.runtime.runs))
            await call(agent)
            await first.ended()
    assert_error(first, "CANCELLED", "the run was cancelled: interrupted")


async def test_a_long_answer_in_json_mode_is_whole() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        for number in range(3000):
            yield f"{number:100}"

    async with serving(app) as agent:
        answer = await call(agent, invocation(accept="application/json"))
    assert [int(message["content"]) for message in answer.json["messages"]] == list(range(3000))


@pytest.mark.parametrize("on_disconnect", ["cancel", "continue"])
async def test_leaving_a_json_answer_does_what_leaving_a_stream_does(on_disconnect: str) -> None:
    began, go_on, ended = anyio.Event(), anyio.Event(), anyio.Event()
    reasons: list[str | None] = []

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        began.set()
        try:
            yield "first"
            await go_on.wait()
        finally:
            reasons.append(ctx.cancel_reason)
            ended.set()

    async with serving(app, on_disconnect=on_disconnect) as agent:
        async with open_stream(agent, invocation(accept="application/json")) as answer:
            with anyio.fail_after(LIMIT_S):
                await began.wait()
        assert not answer.sent
        if on_disconnect == "continue":
            go_on.set()
        with anyio.fail_after(LIMIT_S):
            await ended.wait()
    assert reasons == [None if on_disconnect == "continue" else "disconnected"]


# ---- health ------------------------------------------------------------------------------------


async def test_health_tells_how_it_is() -> None:
    config = {"session": {"backend": "memory"}, "server": {"api_key": "hunter2"}}
    agent = AgentRuntimeASGI(app=echo, config=config)
    async with agent.lifespan():
        answer = await call(agent, get("/health"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json)[:3] == ["status", "instance_id", "uptime"]
    assert answer.json["status"] == "healthy"
    assert isinstance(answer.json["uptime"], int)
    assert answer.json["started_by"] == "composed"
    assert answer.json["generation"] == 1
    assert answer.json["session"] == {"backend": "memory", "state": "up"}
    assert b"hunter2" not in answer.content


async def test_a_request_is_not_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo) as agent:
        await call(agent)
        await call(agent, Request([b"{"]))
        await call(agent, get("/nothing"))
    ours = [record for record in caplog.records if record.name.startswith("asgi_agentrt")]
    assert [record for record in ours if record.levelno >= logging.WARNING] == []
