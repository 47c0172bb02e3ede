"""Calls of one session in one process: their order, their state, and when the session is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asgi_agentrt import Msg, SessionContext, runtime
from asgi_agentrt._generation import Generation
from asgi_agentrt._run import _run
from asgi_agentrt._run._turns import Turn
from asgi_agentrt._session import SessionHold, SessionKey
from asgi_agentrt.exceptions import SessionError
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


class Gate:
    """An app whose calls each wait at a gate of their own, by their text."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self._gates: dict[str, anyio.Event] = {}

    def open(self, name: str) -> None:
        self._gates.setdefault(name, anyio.Event()).set()

    def function(self) -> Any:
        async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
            name = str(msg.content)
            self.began.append(name)
            try:
                yield f"{name} began"
                await self._gates.setdefault(name, anyio.Event()).wait()
            finally:
                self.ended.append(name)

        return app


async def test_a_queue_runs_in_the_order_of_the_calls() -> None:
    gate = Gate()
    names = [f"call {number}" for number in range(8)]
    async with serving(gate.function()) as agent, anyio.create_task_group() as tasks:
        exchanges = [Exchange(invocation(content=name)) for name in names]
        for number, exchange in enumerate(exchanges):
            tasks.start_soon(exchange.run, agent)
            await until(lambda number=number: len(agent.runtime.runs) == number + 1)  # type: ignore[misc]
        for number, name in enumerate(names):
            await until(lambda number=number: len(gate.began) == number + 1)  # type: ignore[misc]
            for _ in range(5):
                await checkpoint()
            assert len(gate.began) == number + 1  # one at a time
            gate.open(name)
        for exchange in exchanges:
            await exchange.ended()
    assert gate.began == names
    assert gate.ended == names
    assert [texts(exchange.events) for exchange in exchanges] == [[f"{n} began"] for n in names]


async def test_an_interrupting_call_begins_when_the_first_has_cleaned_up() -> None:
    order: list[str] = []

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        name = str(msg.content)
        order.append(f"{name} began")
        try:
            yield name
            if name == "first":
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.02)
            order.append(f"{name} ended {ctx.cancel_reason}")

    async with (
        serving(app, session={"concurrency": "interrupt"}) as agent,
        open_stream(agent, invocation(content="first")) as first,
    ):
        await first.next_event()
        assert texts((await call(agent, invocation(content="second"))).events) == ["second"]
        await first.ended()
    assert order == ["first began", "first ended interrupted", "second began", "second ended None"]


async def test_the_last_of_many_interrupting_calls_wins() -> None:
    gate = Gate()
    gate.open("call 9")
    async with (
        serving(gate.function(), session={"concurrency": "interrupt"}) as agent,
        anyio.create_task_group() as tasks,
    ):
        exchanges = [Exchange(invocation(content=f"call {number}")) for number in range(10)]
        for exchange in exchanges:
            tasks.start_soon(exchange.run, agent)
            await exchange.started()
        for exchange in exchanges:
            await exchange.ended()
    ends = [exchange.events[-1].body["metadata"] for exchange in exchanges]
    assert ends == [{"done": True, "error": True}] * 9 + [{"done": True}]


async def test_parallel_calls_run_beside_each_other() -> None:
    gate = Gate()
    async with (
        serving(gate.function(), session={"concurrency": "parallel"}) as agent,
        open_stream(agent, invocation(content="first")) as first,
        open_stream(agent, invocation(content="second")) as second,
    ):
        await first.next_event()
        await second.next_event()
        gate.open("second")
        await second.ended()
        assert not first.is_over
        gate.open("first")
        await first.ended()


@pytest.mark.parametrize("concurrency", ["reject", "queue", "interrupt", "parallel"])
@pytest.mark.parametrize("content", ["fine", "raise"])
async def test_the_session_is_free_when_the_last_event_says_so(
    concurrency: str, content: str
) -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield "said"
        if msg.content == "raise":
            raise ValueError

    class CallsAgain(Exchange):
        """Calls again from within the send of the last event."""

        async def send(self, message: Any) -> None:
            await super().send(message)
            if b'"done":true' in message.get("body", b""):
                answer = await call(agent, invocation(content=content))
                statuses.append((answer.status, answer.events[-1].body["metadata"]))

    statuses: list[Any] = []
    async with serving(app, session={"concurrency": concurrency}) as agent:
        for _ in range(10):
            again = CallsAgain(invocation(content=content))
            async with open_stream(agent, exchange=again) as answer:
                await answer.ended()
    error = {"error": True} if content == "raise" else {}
    assert statuses == [(200, {"done": True, **error})] * 10


async def test_sessions_of_different_users_are_different() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        ctx.state["n"] = ctx.state.get("n", 0) + 1
        yield f"{ctx.user_id}/{ctx.session_id}: {ctx.state['n']}"

    async with serving(app) as agent:
        said = [
            texts((await call(agent, invocation("s", metadata={"user_id": user}))).events)[0]
            for user in ("", "a", "b", "a", "")
        ]
    assert said == ["/s: 1", "a/s: 1", "b/s: 1", "a/s: 2", "/s: 2"]


async def test_the_context_tells_what_the_request_said() -> None:
    seen: list[SessionContext] = []

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        seen.append(ctx)
        yield ""

    metadata = {"user_id": "u", "tenant_id": "t", "nested": {"a": [1]}}
    async with serving(app) as agent:
        answer = await call(agent, invocation("s", metadata=metadata, confirm=[{"id": 1}]))
    [ctx] = seen
    assert (ctx.session_id, ctx.user_id, ctx.metadata) == ("s", "u", metadata)
    assert ctx.confirm == [{"id": 1}]
    assert ctx.run_id == answer.headers["x-run-id"]
    assert ctx.cancel_reason is None


# ---- ctx.state ---------------------------------------------------------------------------------


async def counting(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
    ctx.state["calls"] = [*ctx.state.get("calls", []), str(msg.content)]
    yield str(ctx.state["calls"])
    if msg.content == "raise":
        raise ValueError
    if msg.content == "bad":
        yield None  # type: ignore[misc]
    if msg.content == "wait":
        await anyio.sleep_forever()
    if msg.content == "forget":
        ctx.save_state = False
    if msg.content == "replace":
        ctx.state = {"calls": ["replaced"]}


@pytest.mark.parametrize("content", ["fine", "raise", "bad", "wait"])
async def test_state_is_kept_however_the_call_ended(content: str) -> None:
    async with serving(counting) as agent:
        async with open_stream(agent, invocation(content=content)) as answer:
            await answer.next_event()
            if content != "wait":
                await answer.ended()
        await no_runs(agent)
        said = texts((await call(agent, invocation(content="next"))).events)
    assert said == [str([content, "next"])]


async def test_state_of_an_interrupted_call_is_there_for_the_next() -> None:
    async with (
        serving(counting, session={"concurrency": "interrupt"}) as agent,
        open_stream(agent, invocation(content="wait")) as first,
    ):
        await first.next_event()
        said = texts((await call(agent, invocation(content="next"))).events)
    assert said == ["['wait', 'next']"]


async def test_state_is_left_alone_when_the_app_says_so() -> None:
    async with serving(counting) as agent:
        for content in ("one", "forget", "two"):
            said = texts((await call(agent, invocation(content=content))).events)
    assert said == ["['one', 'two']"]


async def test_state_may_be_replaced() -> None:
    async with serving(counting) as agent:
        for content in ("one", "replace", "two"):
            said = texts((await call(agent, invocation(content=content))).events)
    assert said == ["['replaced', 'two']"]


async def test_what_a_call_changes_after_its_end_changes_nothing() -> None:
    """The state is a copy of what is kept: an app that holds on to it cannot reach the store."""
    held: list[dict[str, Any]] = []

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield str(ctx.state.get("inner"))
        ctx.state["inner"] = ["kept"]
        held.append(ctx.state)

    async with serving(app) as agent:
        await call(agent)
        held[0]["inner"].append("smuggled")
        assert texts((await call(agent)).events) == ["['kept']"]


async def test_sixty_calls_at_once_lose_no_update() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        seen = ctx.state.get("n", 0)
        await checkpoint()
        ctx.state["n"] = seen + 1
        yield ""

    async with serving(app) as agent:
        async with anyio.create_task_group() as tasks:
            for number in range(60):
                tasks.start_soon(call, agent, invocation(f"s{number % 3}"))
        states = [
            await agent.runtime.session.load_context_state(SessionKey("", f"s{number}"))
            for number in range(3)
        ]
    assert states == [{"n": 20}] * 3


async def test_a_call_that_has_answered_in_full_is_not_interrupted_while_it_saves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saving, go_on = anyio.Event(), anyio.Event()
    save = SessionHold.save_state

    async def save_slowly(hold: SessionHold, state: object, **how: Any) -> None:
        saving.set()
        await go_on.wait()
        await save(hold, state, **how)

    monkeypatch.setattr(SessionHold, "save_state", save_slowly)
    async with (
        serving(counting, session={"concurrency": "interrupt"}) as agent,
        open_stream(agent, invocation(content="first")) as first,
    ):
        with anyio.fail_after(LIMIT_S):
            await saving.wait()
        async with open_stream(agent, invocation(content="second")) as second:
            await second.started()
            go_on.set()
            await first.ended()
            await second.ended()
    assert first.events[-1].body["metadata"] == {"done": True}
    assert texts(second.events) == ["['first', 'second']"]


@pytest.mark.parametrize("fault", [OSError("no disk"), RuntimeError("a plug-in of somebody's")])
async def test_the_last_event_comes_even_if_the_session_cannot_be_freed(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def fail(turn: Turn) -> None:
        raise fault

    async with serving(counting) as agent:
        monkeypatch.setattr(Turn, "leave", fail)
        answer = await call(agent)
        assert answer.events[-1].body["metadata"] == {"done": True}
        # Nobody else is troubled.
        assert (await call(agent, invocation("other"))).status == 200


# ---- faults that are not the app's -------------------------------------------------------------


def error_of(answer: Exchange) -> Any:
    """The error of a stream that ends as it should."""
    error, done = (event.body for event in answer.events[-2:])
    assert done["metadata"] == {"done": True, "error": True}
    return error["error"]


async def test_a_fault_of_ours_is_internal_and_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(generation: Generation, session_id: str) -> None:
        raise RuntimeError("hunter2")

    async with serving(counting) as agent:
        with monkeypatch.context() as patch:
            patch.setattr(Generation, "enter_run", fail)
            answer = await call(agent)
        assert error_of(answer) == {"code": "INTERNAL", "message": "the runtime failed"}
        assert (await call(agent)).events[-1].body["metadata"] == {"done": True}
    assert "hunter2" in caplog.text
    assert answer.headers["x-run-id"] in caplog.text


async def test_a_store_that_does_not_save_in_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(hold: SessionHold, state: object, **_: object) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(_run, "SAVE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(SessionHold, "save_state", hang)
    async with serving(counting) as agent:
        answer = await call(agent)
    assert texts(answer.events[:1] + answer.events[-1:]) == ["['hello']"]
    assert error_of(answer) == {"code": "INTERNAL", "message": "the session could not be saved"}


@pytest.mark.parametrize("concurrency", ["queue", "interrupt", "reject"])
async def test_a_store_that_cannot_say_whose_turn_it_is_is_told(
    monkeypatch: pytest.MonkeyPatch, concurrency: str
) -> None:
    async def fail(turn: Turn, **_: object) -> None:
        raise SessionError("redis://hunter2 is down")

    monkeypatch.setattr(Turn, "wait", fail)
    monkeypatch.setattr(Turn, "enter_if_free", fail)
    async with serving(counting, session={"concurrency": concurrency}) as agent:
        answer = await call(agent)
        assert len(agent.runtime.runs) == 0
    error = {"code": "INTERNAL", "message": "the session store is not available"}
    if concurrency == "reject":  # asked before the stream begins
        assert (answer.status, answer.json) == (500, {"error": error})
    else:
        assert error_of(answer) == error


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("is_running", [True, False], ids=["running", "waiting"])
async def test_an_event_loop_that_goes_down_still_lets_streams_end(is_running: bool) -> None:
    """As asyncio.run() does at its end: every task is cancelled, without our scopes."""
    async with (
        serving(counting) as agent,
        open_stream(agent, invocation(content="wait")) as first,
    ):
        await first.next_event()
        async with open_stream(agent, invocation(content="wait")) as second:
            await second.started()
            answer = first if is_running else second
            [task] = [
                task
                for task in asyncio.all_tasks()
                if task.get_name() == f"asgi_agentrt run {answer.headers['x-run-id']}"
            ]
            task.cancel()
            await answer.ended()
        assert error_of(answer)["code"] == ("APP_ERROR" if is_running else "CANCELLED")


# ---- admission ---------------------------------------------------------------------------------


async def test_no_more_run_than_max_concurrency_and_as_many_wait_as_may() -> None:
    gate = Gate()
    async with (
        serving(gate.function(), max_concurrency=2, max_queue=3) as agent,
        anyio.create_task_group() as tasks,
    ):
        exchanges = [Exchange(invocation(f"s{number}", f"{number}")) for number in range(5)]
        for number, exchange in enumerate(exchanges):
            tasks.start_soon(exchange.run, agent)
            await until(lambda number=number: len(agent.runtime.runs) == number + 1)  # type: ignore[misc]
        await until(lambda: len(gate.began) == 2)
        assert (await call(agent, invocation("more"))).status == 503
        assert len(gate.began) == 2
        for number in range(5):
            gate.open(f"{number}")
            await exchanges[number].ended()
            await until(lambda number=number: len(gate.began) == min(number + 3, 5))  # type: ignore[misc]
        assert gate.began == ["0", "1", "2", "3", "4"]
        gate.open("more")
        assert (await call(agent, invocation("more", "more"))).status == 200


async def test_a_caller_that_leaves_the_queue_makes_room() -> None:
    gate = Gate()
    async with (
        serving(gate.function(), max_concurrency=1, max_queue=1) as agent,
        open_stream(agent, invocation("s1", "first")) as first,
    ):
        await first.next_event()
        async with open_stream(agent, invocation("s2", "second")) as second:
            await second.started()
            assert (await call(agent, invocation("s3"))).status == 503
        await until(lambda: len(agent.runtime.runs) == 1)
        async with open_stream(agent, invocation("s3", "third")) as third:
            await third.started()
            assert third.status == 200
            gate.open("first")
            gate.open("third")
            await third.ended()
    assert gate.began == ["first", "third"]


async def test_a_call_that_waits_for_its_session_takes_no_running_place() -> None:
    gate = Gate()
    async with (
        serving(gate.function(), max_concurrency=2, max_queue=1) as agent,
        open_stream(agent, invocation("busy", "first")) as first,
    ):
        await first.next_event()
        async with open_stream(agent, invocation("busy", "second")) as second:
            await second.started()
            gate.open("other")
            assert (await call(agent, invocation("free", "other"))).status == 200
            gate.open("first")
            gate.open("second")
            await second.ended()


# ---- surroundings ------------------------------------------------------------------------------

user: ContextVar[str] = ContextVar("user", default="nobody")


async def test_the_callers_context_variables_reach_the_run_and_stay_there() -> None:
    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        yield user.get()
        user.set("changed by the app")
        yield user.get()

    async with serving(app) as agent:
        user.set("somebody")
        assert texts((await call(agent)).events) == ["somebody", "changed by the app"]
        assert user.get() == "somebody"


async def test_the_runtime_and_the_context_are_at_hand_inside_a_run() -> None:
    from asgi_agentrt._app_base import current_context

    async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        assert current_context.get() is ctx
        yield str(id(runtime.app))

    async with serving(app) as first, serving(app) as second:
        said = texts((await call(first)).events) + texts((await call(second)).events)
    assert said == [str(id(app)), str(id(app))]
