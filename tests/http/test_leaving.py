"""Clients that leave, stall or never read, and the servers and middlewares that hide it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Mount

from asgi_agentrt import Msg, SessionContext
from asgi_agentrt._run._log import UNSENT_LIMIT_BYTES
from asgi_agentrt._types import Message
from tests.support.driver import (
    LIMIT_S,
    Exchange,
    call,
    invocation,
    no_runs,
    open_stream,
    serving,
    texts,
    until,
)


class Patient:
    """An app that says one thing and waits until it is cancelled or told to go on."""

    def __init__(self) -> None:
        self.go_on = anyio.Event()
        self.cleaned_up = anyio.Event()
        self.reason: str | None = None

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        ctx.state["calls"] = ctx.state.get("calls", 0) + 1
        try:
            yield f"call {ctx.state['calls']}"
            if not self.go_on.is_set():
                await self.go_on.wait()
            yield "finished"
        finally:
            self.reason = ctx.cancel_reason
            self.cleaned_up.set()

    def function(self) -> Any:
        async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
            async for item in self(msg, ctx):
                yield item

        return app


async def until_set(event: anyio.Event) -> None:
    with anyio.fail_after(LIMIT_S):
        await event.wait()


async def test_a_client_that_leaves_cancels_its_run() -> None:
    patient = Patient()
    async with serving(patient.function()) as agent:
        async with open_stream(agent) as answer:
            await answer.next_event()
        await until_set(patient.cleaned_up)
        assert patient.reason == "disconnected"
        await no_runs(agent)
        # The session is free, and what the app noted before it was cancelled is kept.
        patient.go_on.set()
        assert texts((await call(agent)).events) == ["call 2", "finished"]


async def test_the_answer_to_a_client_that_left_is_ended_all_the_same() -> None:
    """Whoever stands between us and the client (a middleware, a span) waits for its end."""

    class Listening(Exchange):
        async def send(self, message: Message) -> None:
            self.sent.append(message)
            self._notify()

    patient = Patient()
    async with (
        serving(patient.function()) as agent,
        open_stream(agent, exchange=Listening(invocation())) as answer,
    ):
        await answer.next_event()
    assert answer.is_complete
    assert [message["type"] for message in answer.sent] == [
        "http.response.start",
        *["http.response.body"] * (len(answer.sent) - 1),
    ]
    assert [message.get("more_body", False) for message in answer.sent[1:]].count(False) == 1


async def test_a_client_that_leaves_before_the_app_spoke_cancels_its_run() -> None:
    started, cancelled = anyio.Event(), anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        yield "never"

    async with serving(app) as agent:
        async with open_stream(agent):
            await until_set(started)
        await until_set(cancelled)


async def test_a_client_that_leaves_the_line_of_its_session_never_runs() -> None:
    patient = Patient()
    ran: list[str] = []

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        ran.append(str(msg.content))
        async for item in patient(msg, ctx):
            yield item

    async with serving(app) as agent, open_stream(agent, invocation(content="first")) as first:
        await first.next_event()
        async with open_stream(agent, invocation(content="second")) as second:
            await second.started()
        async with open_stream(agent, invocation(content="third")) as third:
            await third.started()
            patient.go_on.set()
            await third.ended()
        await first.ended()
    assert ran == ["first", "third"]


async def test_awaiting_clean_up_of_an_app_runs_to_its_end() -> None:
    """Left at a `yield`, an app may await as it likes; left at an `await`, under a shield."""
    cleaned: list[str] = []

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * UNSENT_LIMIT_BYTES
                if msg.content == "waits":
                    await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=msg.content == "waits"):
                await anyio.sleep(0.01)
                cleaned.append(str(msg.content))

    async with serving(app) as agent:
        for content in ("waits", "yields"):
            async with open_stream(agent, invocation(content=content)) as answer:
                await answer.next_event()
                answer.stop_reading()
                for _ in range(20):
                    await checkpoint()
            await no_runs(agent)
    assert cleaned == ["waits", "yields"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_app_that_swallows_its_cancellation_ends_all_the_same() -> None:
    """AgentScope catches CancelledError and goes on to say that it was interrupted."""
    swallowed = 0

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        nonlocal swallowed
        yield "before"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed += 1
        yield "I was interrupted"
        await asyncio.Event().wait()

    async with serving(app) as agent:
        async with open_stream(agent) as answer:
            await answer.next_event()
        await no_runs(agent)
    assert swallowed == 1


async def test_on_disconnect_continue_lets_the_run_finish_and_keeps_its_state() -> None:
    patient = Patient()
    async with serving(patient.function(), on_disconnect="continue") as agent:
        async with open_stream(agent) as answer:
            await answer.next_event()
        assert not patient.cleaned_up.is_set()
        patient.go_on.set()
        await until_set(patient.cleaned_up)
        assert patient.reason is None
        assert texts((await call(agent)).events) == ["call 2", "finished"]


async def test_a_run_that_goes_on_alone_is_not_slowed_by_its_lost_client() -> None:
    finished = anyio.Event()
    go_on = anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "first"
        await go_on.wait()
        for _ in range(10):
            yield "x" * UNSENT_LIMIT_BYTES
        finished.set()

    async with serving(app, on_disconnect="continue") as agent:
        async with open_stream(agent) as answer:
            await answer.next_event()
            answer.stop_reading()
        go_on.set()
        await until_set(finished)


# ---- slow clients ------------------------------------------------------------------------------


async def test_a_slow_client_slows_its_run_and_no_other() -> None:
    produced = 0

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        nonlocal produced
        if msg.content != "much":
            yield "quick"
            return
        for _ in range(1000):
            produced += 1
            yield "x" * 1024

    async with serving(app) as agent:
        exchange = Exchange(invocation("slow", "much"))
        exchange.stop_reading()
        async with open_stream(agent, exchange=exchange) as slow:
            for number in range(20):
                answer = await call(agent, invocation(f"other {number}"))
                assert texts(answer.events) == ["quick"]
            stalled_at = produced
            assert stalled_at * 1024 <= 65 * 1024
            for _ in range(50):
                await checkpoint()
            assert produced == stalled_at
            slow.read_on()
            await slow.ended()
    assert produced == 1000
    assert len(texts(slow.events)) == 1000
    assert slow.events[-1].body["metadata"] == {"done": True}
    assert max(map(len, slow.parts)) <= 2 * 65536


async def test_a_message_larger_than_the_bound_is_sent_whole() -> None:
    text = "ü" * 1_000_000

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield text
        yield "after"

    async with serving(app) as agent:
        answer = await call(agent)
    assert texts(answer.events) == [text, "after"]


class NeverSends(Exchange):
    """A server whose `send()` hangs for good after so many messages, whatever happens."""

    sends = 1

    async def send(self, message: Message) -> None:
        if len(self.sent) >= self.sends:
            await anyio.sleep_forever()
        await super().send(message)


@pytest.mark.parametrize("sends", [0, 1, 2], ids=["head", "first-event", "last-event"])
async def test_a_send_that_hangs_is_given_up(sends: int) -> None:
    patient = Patient()
    exchange = NeverSends(invocation())
    exchange.sends = sends
    async with serving(patient.function(), send_timeout=0.1, drain_timeout=0) as agent:
        async with open_stream(agent, exchange=exchange):
            if sends == 2:
                await exchange.next_event()
                patient.go_on.set()
            await exchange.ended()
        await no_runs(agent)
        # Where not even the head could be sent, the app may not have begun.
        assert patient.reason == "disconnected" or sends != 1
        patient.go_on.set()
        assert (await call(agent)).events[-1].body["metadata"] == {"done": True}


async def test_a_slow_client_that_still_reads_is_not_given_up() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        for _ in range(8):
            yield "x" * UNSENT_LIMIT_BYTES

    class Slow(Exchange):
        async def send(self, message: Message) -> None:
            await anyio.sleep(0.1)
            await super().send(message)

    async with (
        serving(app, send_timeout=0.3) as agent,
        open_stream(agent, exchange=Slow(invocation())) as answer,
    ):
        await answer.ended()
    assert answer.is_complete
    assert len(texts(answer.events)) == 8


# ---- servers and bridges that behave badly ----------------------------------------------------


class Spinning(Exchange):
    """A bridge whose `receive()` repeats the end of the body for ever, without waiting."""

    received = 0

    async def receive(self) -> Message:
        if self._parts:
            return await super().receive()
        self.received += 1
        return {"type": "http.request", "body": b"", "more_body": False}


async def test_a_bridge_that_repeats_the_body_costs_nothing() -> None:
    go_on = anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "first"
        await go_on.wait()
        yield "second"

    exchange = Spinning(invocation())
    async with serving(app) as agent, open_stream(agent, exchange=exchange) as answer:
        await answer.next_event()
        for _ in range(50):
            await checkpoint()
        go_on.set()
        await answer.ended()
    assert texts(answer.events) == ["first", "second"]
    assert exchange.received <= 2


class NoSecondReceive(Exchange):
    """A bridge whose `receive()` may not be called once the body is read."""

    async def receive(self) -> Message:
        if self._parts:
            return await super().receive()
        raise RuntimeError("the body was read already")


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_receive_that_raises_is_no_reason_to_stop(accept: str) -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "first"
        await checkpoint()
        await anyio.sleep(0.01)
        yield "second"

    exchange = NoSecondReceive(invocation(accept=accept))
    async with serving(app) as agent, open_stream(agent, exchange=exchange) as answer:
        await answer.ended()
    assert answer.status == 200
    assert answer.content.count(b"second") == 1


class Breaking(Exchange):
    """A server whose `send()` raises from the given call on."""

    fault: Exception
    sends: int

    async def send(self, message: Message) -> None:
        if len(self.sent) >= self.sends:
            raise self.fault
        await super().send(message)


@pytest.mark.parametrize("sends", [0, 1, 2])
@pytest.mark.parametrize(
    "fault", [OSError("gone"), ConnectionResetError(), RuntimeError("closed")], ids=repr
)
async def test_a_send_that_raises_means_that_the_client_left(fault: Exception, sends: int) -> None:
    patient = Patient()
    exchange = Breaking(invocation())
    exchange.fault, exchange.sends = fault, sends
    async with serving(patient.function(), ping_interval=0.05) as agent:
        async with open_stream(agent, exchange=exchange):
            await exchange.ended()
        await no_runs(agent)
    # Where not even the head could be sent, the app may not have begun.
    assert patient.reason == "disconnected" or sends == 0


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_server_that_cancels_the_request_cancels_the_run(accept: str) -> None:
    patient = Patient()
    exchange = Exchange(invocation(accept=accept))
    async with serving(patient.function()) as agent:
        task = asyncio.create_task(agent(exchange.request.scope(), exchange.receive, exchange.send))
        await until(lambda: len(agent.runtime.runs))
        await checkpoint()
        await checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_set(patient.cleaned_up)
        assert patient.reason == "disconnected"
        await no_runs(agent)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_a_cancel_scope_around_the_request_cancels_the_run(accept: str) -> None:
    patient = Patient()
    async with serving(patient.function()) as agent:
        exchange = Exchange(invocation(accept=accept))
        with anyio.move_on_after(0.05) as scope:
            await agent(exchange.request.scope(), exchange.receive, exchange.send)
        assert scope.cancelled_caught
        await until_set(patient.cleaned_up)
        assert patient.reason == "disconnected"
        await no_runs(agent)


# ---- below BaseHTTPMiddleware -----------------------------------------------------------------


def below_base_middleware(agent: Any, *, reads_body: bool) -> Starlette:
    class Middle(BaseHTTPMiddleware):
        async def dispatch(
            self,
            request: StarletteRequest,
            call_next: Callable[[StarletteRequest], Awaitable[Response]],
        ) -> Response:
            if reads_body:
                await request.body()
            response = await call_next(request)
            response.headers["x-middle"] = "seen"
            return response

    app = Starlette(routes=[Mount("/agent", agent)])
    app.add_middleware(Middle)
    return app


@pytest.mark.parametrize("reads_body", [False, True])
async def test_a_stream_passes_base_http_middleware(reads_body: bool) -> None:
    patient = Patient()
    request = invocation()
    request.path = "/agent/invoke"
    async with serving(patient.function()) as agent:
        host = below_base_middleware(agent, reads_body=reads_body)
        async with open_stream(host, request) as answer:
            assert (await answer.next_event())["content"] == "call 1"
            patient.go_on.set()
            await answer.ended()
    assert answer.headers["x-middle"] == "seen"
    assert texts(answer.events) == ["call 1", "finished"]


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
@pytest.mark.parametrize("reads_body", [False, True])
async def test_a_client_that_leaves_is_noticed_below_base_http_middleware(
    reads_body: bool, accept: str
) -> None:
    patient = Patient()
    started = anyio.Event()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        started.set()
        async for item in patient(msg, ctx):
            yield item

    request = invocation(accept=accept)
    request.path = "/agent/invoke"
    async with serving(app) as agent:
        host = below_base_middleware(agent, reads_body=reads_body)
        async with open_stream(host, request):
            await until_set(started)
        await until_set(patient.cleaned_up)
        assert patient.reason == "disconnected"
        await no_runs(agent)


# ---- requests that never become one -----------------------------------------------------------


async def test_a_client_that_leaves_within_its_body_is_answered_by_nothing_of_ours() -> None:
    class HalfSent(Exchange):
        async def receive(self) -> Message:
            if self._parts:
                part = self._parts.pop(0)
                return {"type": "http.request", "body": part, "more_body": True}
            return {"type": "http.disconnect"}

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        raise AssertionError("it must not run")
        yield ""

    async with serving(app) as agent:
        async with open_stream(agent, exchange=HalfSent(invocation())) as answer:
            await answer.ended()
        assert answer.status == 499
        assert len(agent.runtime.runs) == 0


async def test_a_body_that_stalls_is_refused() -> None:
    class Stalling(Exchange):
        async def receive(self) -> Message:
            if self._parts:
                part = self._parts.pop(0)
                return {"type": "http.request", "body": part, "more_body": True}
            return await super().receive()

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "never"

    async with serving(app, send_timeout=0.1) as agent:
        async with open_stream(agent, exchange=Stalling(invocation())) as answer:
            await answer.ended()
        assert answer.status == 400
        assert answer.json["error"] == {
            "code": "INVALID_REQUEST",
            "message": "the body stopped for more than 0.1 s",
        }
