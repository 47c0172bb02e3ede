"""A stop: running calls get their time, every client its last event, then all is closed."""

from __future__ import annotations

import logging

import anyio
import pytest

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware
from asgi_agentrt._run import _pool
from asgi_agentrt._types import Receive, Scope, Send
from tests.support.in_process import Lifespan, ask, calling, invoke, lifespan, said
from tests.support.spies import Spy, agent_of, logged


async def test_a_call_that_ends_within_the_drain_timeout_ends_well(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    async with lifespan(agent) as server:
        async with calling(agent, "slow") as request, anyio.create_task_group() as tasks:
            await request.next_event()
            tasks.start_soon(server.say, "shutdown")
            await anyio.wait_all_tasks_blocked()
            assert (await ask(agent)).json["status"] == "draining"
            refused = await invoke(agent)
            assert (refused.status, refused.error_code) == (503, "NOT_READY")
            assert spy.record == ["started"]
            spy.go_on.set()
            await request.ended()
        assert request.events[-1].body["metadata"] == {"done": True}
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert spy.record == ["started", "stopped"]


async def test_one_that_does_not_is_cancelled_and_its_client_told(spy: Spy) -> None:
    agent = agent_of(spy, drain_timeout=0.05)
    async with lifespan(agent) as server:
        async with calling(agent, "hang") as request:
            await request.next_event()
            await server.say("shutdown")
            await request.ended()
        error, done = request.events[-2:]
        assert error.body["error"] == {
            "code": "CANCELLED",
            "message": "the run was cancelled: shutdown",
        }
        assert done.body["metadata"] == {"done": True, "error": True}
        assert request.is_complete
    assert spy.record == ["started", "left: shutdown", "stopped"]


async def test_several_calls_drain_side_by_side(spy: Spy) -> None:
    agent = agent_of(spy, drain_timeout=1)
    async with (
        lifespan(agent) as server,
        calling(agent, "hang") as one,
        calling(agent, "hang", session_id="s2") as two,
    ):
        await one.next_event()
        await two.next_event()
        began = anyio.current_time()
        await server.say("shutdown")
        assert anyio.current_time() - began < 1.9  # one after the other they take 2
        await one.ended()
        await two.ended()
    assert spy.record == ["started", "left: shutdown", "left: shutdown", "stopped"]


async def test_a_request_that_was_cancelled_unwinds_before_anything_is_closed(spy: Spy) -> None:
    """As uvicorn does at its limit: lifespan.shutdown comes while requests still clean up."""
    agent = agent_of(spy)
    unwinding, may_end = anyio.Event(), anyio.Event()

    async def slowly() -> None:
        unwinding.set()
        await may_end.wait()
        assert agent.runtime.is_initialized or spy.stopped == 0

    spy.unwinding = slowly
    server = Lifespan(agent)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            await server.say("startup")
            async with anyio.create_task_group() as requests:
                async with calling(agent, "hang") as request:
                    await request.next_event()
                    request.leave()
                    await unwinding.wait()
                    tasks.start_soon(server.say, "shutdown")
                    await anyio.wait_all_tasks_blocked()
                    assert spy.record == ["started"]
                    may_end.set()
                requests.cancel_scope.cancel()
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert spy.record == ["started", "left: disconnected", "stopped"]


async def test_a_call_that_waits_for_its_session_is_told_too(spy: Spy) -> None:
    agent = agent_of(spy, drain_timeout=0.05)
    async with lifespan(agent) as server:
        async with calling(agent, "hang") as first:
            await first.next_event()
            async with calling(agent, "hang") as waiting:
                await waiting.started()
                await server.say("shutdown")
                await waiting.ended()
            await first.ended()
        assert waiting.events[-1].body["metadata"] == {"done": True, "error": True}
    assert spy.record.count("stopped") == 1


async def test_a_call_that_does_not_unwind_does_not_hold_up_the_rest(
    spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "UNWIND_TIMEOUT_S", 0.05)
    agent = agent_of(spy, drain_timeout=0)
    may_end = anyio.Event()
    spy.unwinding = may_end.wait
    async with (
        lifespan(agent) as server,
        anyio.create_task_group() as tasks,
        calling(agent, "hang") as request,
    ):
        await request.next_event()
        tasks.start_soon(server.say, "shutdown")
        with anyio.fail_after(5):
            while "stopped" not in spy.record:
                await anyio.lowlevel.checkpoint()
        may_end.set()
        await request.ended()
    assert spy.record == ["started", "stopped", "left: shutdown"]


async def test_a_host_s_own_shutdown_sees_our_streams_end(spy: Spy) -> None:
    """Ours is told first: a host that waits for its streams would wait for ours as well."""
    agent = agent_of(spy, drain_timeout=0.05)
    ended: list[bool] = []

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await request.ended()
        ended.append(True)
        await send({"type": "lifespan.shutdown.complete"})

    app = AgentRuntimeMiddleware(host, agent)
    async with lifespan(app) as server, calling(app, "hang", "/agent/invoke") as request:
        await request.next_event()
        await server.say("shutdown")
    assert ended == [True]
    assert spy.record == ["started", "left: shutdown", "stopped"]


async def test_a_stop_without_calls_waits_for_nothing(agent: AgentRuntimeASGI) -> None:
    async with lifespan(agent) as server:
        assert said(await invoke(agent)) == ["hello"]
        began = anyio.current_time()
        await server.say("shutdown")
        assert anyio.current_time() - began < 5  # drain_timeout is 30


async def test_an_orderly_life_logs_nothing_above_info(
    agent: AgentRuntimeASGI, caplog: pytest.LogCaptureFixture
) -> None:
    async with lifespan(agent), calling(agent, "hang") as request:
        await request.next_event()
    assert logged(caplog, logging.WARNING) == []
