"""What an app yields, raises and returns, and the stream that comes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pydantic
import pytest

from asgi_agentrt import AgentApp, Msg, SessionContext
from tests.support.driver import call, invocation, open_stream, serving, texts

DONE = {"name": "assistant", "content": "", "role": "assistant", "metadata": {"done": True}}
FAILED = {**DONE, "metadata": {"done": True, "error": True}}


class WithToDict:
    def to_dict(self) -> dict[str, Any]:
        return {"content": "from to_dict", "extra": object()}


class WithModelDump(pydantic.BaseModel):
    content: str = "from model_dump"
    role: str = "system"


def yielding(*items: object) -> Any:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[object]:
        for item in items:
            yield item

    return app


async def test_an_answer_is_the_messages_and_one_done_event() -> None:
    async with serving(yielding("Hel", "lo")) as agent:
        answer = await call(agent)
    assert answer.status == 200
    run_id = answer.headers.pop("x-run-id")
    assert len(run_id) >= 16
    assert {name: value for name, value in answer.headers.items() if name != "x-run-id"} == {
        "content-type": "text/event-stream",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
    }
    assert answer.content == (
        b'id: 1\ndata: {"name":"assistant","content":"Hel","role":"assistant",'
        b'"metadata":{"chunk":true}}\n\n'
        b'id: 2\ndata: {"name":"assistant","content":"lo","role":"assistant",'
        b'"metadata":{"chunk":true}}\n\n'
        b'id: 3\ndata: {"name":"assistant","content":"","role":"assistant",'
        b'"metadata":{"done":true}}\n\n'
    )


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            Msg("bot", "hi", "assistant"),
            '{"name":"bot","content":"hi","role":"assistant","metadata":{}}',
        ),
        (
            Msg("bot", "hi", "assistant", {"a": 1}, id="m1", timestamp="t1"),
            '{"name":"bot","content":"hi","role":"assistant","metadata":{"a":1},'
            '"id":"m1","timestamp":"t1"}',
        ),
        (
            {"timestamp": "t", "id": "i", "metadata": None, "content": [], "name": "n", "x": 1},
            '{"name":"n","content":[],"role":"assistant","metadata":{},"id":"i","timestamp":"t"}',
        ),
        (
            {"content": "x", "role": "user"},
            '{"name":"user","content":"x","role":"user","metadata":{}}',
        ),
        (
            WithToDict(),
            '{"name":"assistant","content":"from to_dict","role":"assistant","metadata":{}}',
        ),
        (
            WithModelDump(),
            '{"name":"system","content":"from model_dump","role":"system","metadata":{}}',
        ),
        (
            "ünï \u2028 \x85 \U0001f600 \x00 \r\n",
            '{"name":"assistant","content":"ünï \u2028 \x85 \U0001f600 \\u0000 \\r\\n",'
            '"role":"assistant","metadata":{"chunk":true}}',
        ),
        ("", '{"name":"assistant","content":"","role":"assistant","metadata":{"chunk":true}}'),
    ],
    ids=["msg", "msg-with-id", "dict", "user-dict", "to_dict", "model_dump", "text", "empty"],
)
async def test_whatever_is_a_message_is_sent_as_one(item: object, expected: str) -> None:
    async with serving(yielding(item)) as agent:
        answer = await call(agent)
    assert answer.events[0].text == expected
    assert [event.number for event in answer.events] == [1, 2]
    assert answer.events[-1].body == DONE


class Secret:
    def __repr__(self) -> str:
        return "hunter2"


def circular() -> list[Any]:
    ring: list[Any] = []
    ring.append({"next": ring})
    return ring


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (None, "is of type NoneType"),
        (b"hunter2", "is of type bytes"),
        (Secret(), "is of type Secret"),
        (5, "is of type int"),
        (["hunter2"], "is of type list"),
        ({}, "message has no content"),
        ({"content": Secret()}, "content is of type Secret"),
        ({"content": b"hunter2"}, "content is of type bytes"),
        ({"content": "x", "role": "hunter2"}, "role must be one of user, assistant, system"),
        ({"content": "x", "role": ["hunter2"]}, "role must be one of user, assistant, system"),
        (
            {"content": [{"type": "text", "text": Secret()}]},
            "content[0].text is of type Secret",
        ),
        ({"content": [1, {"a": {"b": {1, 2}}}]}, "content[1].a.b is of type set"),
        ({"content": "x", "metadata": {"n": float("nan")}}, "metadata.n is not a finite number"),
        ({"content": "x", "metadata": {"n": float("-inf")}}, "metadata.n is not a finite number"),
        ({"content": "x", "metadata": {"n": 10**5000}}, "metadata.n has too many digits"),
        ({"content": "hunter2\ud800"}, "content holds a lone surrogate"),
        ({"content": {"hunter2\ud800": 1}}, "content has a key that holds a lone surrogate"),
        ({"content": {(1, 2): "x"}}, "content has a key of type tuple"),
        ({"content": {1: Secret()}}, "content.1 is of type Secret"),
        ({"content": {float("nan"): "x"}}, "content has a key that is not a finite number"),
        ({"content": "x", "id": b"hunter2"}, "id is of type bytes"),
        (Msg("bot", [{"x": Secret()}], "assistant"), "content[0].x is of type Secret"),
    ],
)
async def test_what_is_no_json_is_named_by_type_and_path(
    item: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(yielding("before", item, "after")) as agent:
        answer = await call(agent)
    said, error, done = (event.body for event in answer.events)
    assert said["content"] == "before"
    assert error == {
        "error": {
            "code": "APP_ERROR",
            "message": f"the app yielded a message that cannot be sent: {reason}",
        }
    }
    assert done == FAILED
    assert "hunter2" not in answer.content.decode()
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert answer.headers["x-run-id"] in record.getMessage()
    assert reason in record.getMessage()
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("make", [circular, lambda: deep(100_000)], ids=["circle", "abyss"])
async def test_what_has_no_end_is_an_error_and_not_a_crash(make: Callable[[], Any]) -> None:
    content = make()
    async with serving(yielding({"content": content}, "after")) as agent:
        answer = await call(agent)
        error, done = (event.body for event in answer.events)
        assert error["error"]["code"] == "APP_ERROR"
        assert "is nested deeper than" in error["error"]["message"]
        assert len(error["error"]["message"]) < 300
        assert done == FAILED
        assert (await call(agent)).status == 200
    # Or the interpreter would overflow its stack while it frees the deep one (its own fault).
    while content and isinstance(content, list):
        content = content.pop()


async def test_a_key_that_is_a_number_is_written_as_json_writes_it() -> None:
    async with serving(yielding({"content": "x", "metadata": {1: 2}})) as agent:
        answer = await call(agent)
    assert answer.events[0].body["metadata"] == {"1": 2}


# ---- apps that fail ----------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class OwnBaseError(BaseException):
    pass


ERRORS = [
    ValueError("the password is hunter2"),
    UnprintableError(),
    UnicodeError("lone \ud800 hunter2"),
    SystemExit(3),
    GeneratorExit(),
    OwnBaseError("hunter2"),
    TimeoutError("hunter2"),
    OSError("hunter2"),
    StopAsyncIteration("hunter2"),
    StopIteration("hunter2"),
    ExceptionGroup("hunter2", [ValueError("hunter2")]),
    RecursionError("hunter2"),
]


@pytest.mark.parametrize("is_first", [True, False], ids=["at-once", "after-a-message"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_an_app_raises_is_logged_and_not_told(
    error: BaseException, is_first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        if is_first:
            raise error
        yield "before"
        raise error

    async with serving(app) as agent:
        answer = await call(agent)
        assert (await call(agent)).status == 200
    events = [event.body for event in answer.events]
    run_id = answer.headers["x-run-id"]
    assert [event.number for event in answer.events] == list(range(1, len(events) + 1))
    assert texts(answer.events) == ([] if is_first else ["before"])
    assert events[-2] == {
        "error": {"code": "APP_ERROR", "message": f"the app failed; its log names run {run_id}"}
    }
    assert events[-1] == FAILED
    ours = [record for record in caplog.records if record.name.startswith("asgi_agentrt.")]
    [record] = [record for record in ours if run_id in record.getMessage()]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert type(error).__name__ in caplog.text
    assert __file__ in caplog.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("the password is hunter2"), "ValueError: the password is hunter2"),
        (UnprintableError(), "UnprintableError"),
        (ValueError("lone \ud800 one"), "ValueError: lone \\ud800 one"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=["plain", "unprintable", "surrogate", "exit"],
)
async def test_debug_tells_the_client_what_was_raised(error: BaseException, text: str) -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "before"
        raise error

    async with serving(app, debug=True) as agent:
        answer = await call(agent)
        whole = await call(agent, invocation(accept="application/json"))
    assert answer.events[-2].body == {"error": {"code": "APP_ERROR", "message": text}}
    assert answer.events[-1].body == FAILED
    assert whole.status == 500
    assert whole.json == answer.events[-2].body


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancellation_from_inside_the_app_is_the_apps_failure() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "before"
        if msg.content == "raise":
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # as libraries do that cancel the task they are used in
        await asyncio.sleep(0)
        yield "after"

    async with serving(app) as agent:
        for content in ("raise", "cancel"):
            answer = await call(agent, invocation(content=content))
            assert texts(answer.events) == ["before"]
            assert answer.events[-2].body["error"]["code"] == "APP_ERROR"
            assert answer.events[-1].body == FAILED


@pytest.mark.parametrize("value", [None, "text", 5, {"content": "x"}, Msg("a", "b", "user"), [1]])
async def test_an_app_that_returns_instead_of_yielding_is_told_so(value: object) -> None:
    async def app(msg: Msg, ctx: SessionContext) -> object:
        return value

    async with serving(app) as agent:
        answer = await call(agent)
    error, done = (event.body for event in answer.events)
    assert error["error"]["code"] == "APP_ERROR"
    assert f"returned a value of type {type(value).__name__}" in error["error"]["message"]
    assert "yield" in error["error"]["message"]
    assert done == FAILED


async def test_an_app_that_forgets_async_is_told_so() -> None:
    class App(AgentApp):
        def __call__(self, msg: Msg, ctx: SessionContext) -> Any:
            yield "hello"

    async with serving(App) as agent:
        answer = await call(agent)
    assert "`async def`" in answer.events[0].body["error"]["message"]


async def test_an_app_may_return_an_iterator_of_its_own() -> None:
    class Twice:
        def __init__(self) -> None:
            self.left = 2

        def __aiter__(self) -> Twice:
            return self

        async def __anext__(self) -> str:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return "again"

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        return Twice()

    async with serving(app) as agent:
        assert texts((await call(agent)).events) == ["again", "again"]


async def test_an_app_that_yields_nothing_is_done_at_once() -> None:
    async with serving(yielding()) as agent:
        answer = await call(agent)
    assert [event.body for event in answer.events] == [DONE]


async def test_to_dict_that_raises_is_the_apps_failure() -> None:
    class Broken:
        def to_dict(self) -> dict[str, Any]:
            raise ValueError("hunter2")

    async with serving(yielding(Broken())) as agent:
        answer = await call(agent)
    assert answer.events[0].body["error"]["code"] == "APP_ERROR"
    assert b"hunter2" not in answer.content


# ---- when what goes out ------------------------------------------------------------------------


async def test_one_event_is_sent_as_soon_as_it_is_there() -> None:
    next_one = [anyio.Event() for _ in range(3)]

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        for number, event in enumerate(next_one):
            yield str(number)
            await event.wait()

    async with serving(app) as agent, open_stream(agent) as answer:
        await answer.started()
        for number, event in enumerate(next_one):
            assert (await answer.next_event())["content"] == str(number)
            assert len(answer.parts) == number + 1
            event.set()
        await answer.ended()
    assert len(answer.parts) == 4
    assert [message.get("more_body", False) for message in answer.sent[1:]] == [True] * 3 + [False]


async def test_the_head_is_sent_before_the_app_says_anything() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        await anyio.sleep_forever()
        yield "never"

    async with serving(app) as agent, open_stream(agent) as answer:
        await answer.started()
        assert answer.status == 200
        assert not answer.parts


async def test_events_that_are_ready_together_go_out_together() -> None:
    async with serving(yielding(*map(str, range(100)))) as agent:
        answer = await call(agent)
    assert texts(answer.events) == list(map(str, range(100)))
    assert [event.number for event in answer.events] == list(range(1, 102))
    # The second is the done event: it waits until the session is saved and free.
    assert len(answer.parts) <= 2
    assert len(answer.sent) <= 3


async def test_what_waits_for_a_slow_client_goes_out_together() -> None:
    go_on = anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "first"
        await go_on.wait()
        for number in range(20):
            yield str(number)
            await anyio.lowlevel.checkpoint()

    async with serving(app) as agent, open_stream(agent) as answer:
        await answer.next_event()
        answer.stop_reading()
        go_on.set()
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
        answer.read_on()
        await answer.ended()
    assert len(answer.parts) <= 3  # the first; what came before the client stalled; the rest
    assert texts(answer.events) == ["first", *map(str, range(20))]


async def test_an_app_that_never_waits_lets_others_run() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        if msg.content == "endless":
            while True:
                yield "x" * 500
        yield "quick"

    async with serving(app) as agent, open_stream(agent, invocation("s1", "endless")) as endless:
        await endless.next_event()
        assert texts((await call(agent, invocation("s2"))).events) == ["quick"]
        assert not endless.is_over


async def test_a_comment_keeps_a_silent_stream_alive() -> None:
    go_on = anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        await go_on.wait()
        yield "said"

    async with serving(app, ping_interval=0.05) as agent, open_stream(agent) as answer:
        for _ in range(3):
            frame = await answer.next_frame()
            assert (frame.number, frame.text) == (None, "ping")
        go_on.set()
        assert (await answer.next_event())["content"] == "said"
        await answer.ended()
    assert b": ping\n\n" in answer.parts
    assert [event.number for event in answer.events] == [1, 2]  # comments do not count


async def test_comments_come_while_a_call_waits_for_its_session() -> None:
    go_on = anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        await go_on.wait()
        yield str(msg.content)

    async with (
        serving(app, ping_interval=0.05) as agent,
        open_stream(agent, invocation(content="first")) as first,
    ):
        await first.started()
        async with open_stream(agent, invocation(content="second")) as second:
            assert (await second.next_frame()).text == "ping"
            go_on.set()
            await first.ended()
            await second.ended()
            assert texts(second.events) == ["second"]
