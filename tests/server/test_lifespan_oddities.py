"""Servers that say odd things in a lifespan, and hosts that answer oddly or not at all."""

from __future__ import annotations

import logging

import anyio
import pytest

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware
from asgi_agentrt._types import ASGIApp, Receive, Scope, Send
from tests.support.in_process import Lifespan, ask, lifespan
from tests.support.spies import Spy, agent_of, failing, logged


async def test_a_first_message_that_is_shutdown_is_answered_without_a_start(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    """As some bridges send it, after their first lifespan call has ended."""
    server = Lifespan(agent)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await server.say("shutdown")
        await server.ended()
    assert (server.sent, spy.tries) == (["shutdown.complete"], 0)


@pytest.mark.parametrize("through", ["root", "middleware"])
async def test_a_receive_that_is_cancelled_closes_it(
    agent: AgentRuntimeASGI, spy: Spy, through: str
) -> None:
    """As gunicorn's own worker does on SIGINT."""
    app: ASGIApp = agent if through == "root" else AgentRuntimeMiddleware(_bare, agent)
    server = Lifespan(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await server.say("startup")
        tasks.cancel_scope.cancel()
    assert spy.record == ["started", "stopped"]
    assert server.sent == ["startup.complete"]


async def test_a_lifespan_that_is_cancelled_while_it_starts_gives_the_start_up(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    reached = anyio.Event()

    async def starting() -> None:
        reached.set()
        await anyio.sleep_forever()

    spy.starting = starting
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            server = Lifespan(agent)
            tasks.start_soon(server.serve)
            tasks.start_soon(server.say, "startup")
            await reached.wait()
            tasks.cancel_scope.cancel()
        spy.starting = Spy().starting
        async with lifespan(agent):
            assert (await ask(agent)).status == 200
    assert (spy.tries, spy.record) == (2, ["started", "stopped"])


# ---- hosts behind the middleware ---------------------------------------------------------------


async def _bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Speak no lifespan, as Django: raise, whatever comes but HTTP."""
    if scope["type"] != "http":
        raise ValueError(f"cannot handle {scope['type']}")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def raises_at_startup(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    raise ValueError("unknown message")


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Ignore lifespans, as small hand-written apps do."""


async def returns_after_startup(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})


@pytest.mark.parametrize("host", [_bare, raises_at_startup, returns_at_once, returns_after_startup])
async def test_a_host_that_speaks_no_lifespan_is_tolerated(
    agent: AgentRuntimeASGI, spy: Spy, host: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = AgentRuntimeMiddleware(host, agent)
    async with lifespan(app) as server:
        assert (await ask(app, "/agent/health")).json["started_by"] == "wrapped"
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert spy.record == ["started", "stopped"]
    assert logged(caplog, logging.WARNING) == []


async def test_a_host_that_fails_to_start_fails_the_whole(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async with lifespan(AgentRuntimeMiddleware(host, agent)) as server:
        pass
    assert (server.sent, server.message) == (["startup.failed"], "no database")
    assert spy.record == ["started", "stopped"]


async def test_a_host_that_breaks_after_its_start_is_logged_and_reported_at_the_end(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    broken = anyio.Event()

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await returns_after_startup(scope, receive, send)
        broken.set()
        raise OSError("the host broke")

    app = AgentRuntimeMiddleware(host, agent)
    async with lifespan(app) as server:
        with anyio.fail_after(5):
            await broken.wait()
        assert (await ask(app, "/agent/health")).status == 200
    assert server.sent == ["startup.complete", "shutdown.failed"]
    assert server.message == "the host broke"
    assert spy.record == ["started", "stopped"]
    assert "the host's lifespan failed" in caplog.text


@pytest.mark.parametrize("way", ["says so", "raises"])
async def test_a_host_that_fails_to_shut_down_is_reported_and_the_agent_still_closes(
    agent: AgentRuntimeASGI, spy: Spy, way: str
) -> None:
    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await returns_after_startup(scope, receive, send)
        await receive()
        if way == "raises":
            raise OSError("cannot close")
        await send({"type": "lifespan.shutdown.failed", "message": "cannot close"})

    async with lifespan(AgentRuntimeMiddleware(host, agent)) as server:
        pass
    assert server.sent == ["startup.complete", "shutdown.failed"]
    assert server.message == "cannot close"
    assert spy.record == ["started", "stopped"]


@pytest.mark.parametrize("word", ["startup", "shutdown"])
async def test_a_host_that_never_answers_can_be_cancelled_and_the_agent_closes(
    agent: AgentRuntimeASGI, spy: Spy, word: str
) -> None:
    silent = anyio.Event()

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if word == "shutdown":
            await send({"type": "lifespan.startup.complete"})
            await receive()
        silent.set()
        await anyio.sleep_forever()

    server = Lifespan(AgentRuntimeMiddleware(host, agent))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            if word == "shutdown":
                await server.say("startup")
            tasks.start_soon(server.say, word)
            await silent.wait()
            tasks.cancel_scope.cancel()
    assert spy.record == ["started", "stopped"]


async def test_a_host_s_state_reaches_the_server_and_ours_does_not(
    agent: AgentRuntimeASGI,
) -> None:
    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        scope["state"]["theirs"] = 1
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with lifespan(AgentRuntimeMiddleware(host, agent), state={}) as server:
        assert server.scope["state"] == {"theirs": 1}


async def test_a_host_without_state_gets_none_from_us(agent: AgentRuntimeASGI) -> None:
    seen: list[Scope] = []

    async def host(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await returns_after_startup(scope, receive, send)

    async with lifespan(AgentRuntimeMiddleware(host, agent), state=None):
        pass
    assert "state" not in seen[0]


async def test_the_host_starts_also_when_the_agent_did_not(
    spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    spy.starting = failing()
    app = AgentRuntimeMiddleware(_bare, agent_of(spy))
    async with lifespan(app) as server:
        assert (await ask(app, "/their/page")).status == 204
        assert (await ask(app, "/agent/health")).status == 503
    assert server.sent == ["startup.complete", "shutdown.complete"]


async def exits() -> None:
    raise SystemExit(3)


async def test_an_app_that_exits_as_it_starts_fails_and_leaves_its_host_alone(spy: Spy) -> None:
    spy.starting = exits
    async with lifespan(agent_of(spy)) as server:
        assert server.sent == ["startup.failed"]
        assert server.message.endswith("on_startup: SystemExit: 3")


async def test_an_app_that_exits_as_it_stops_leaves_its_host_alone(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    spy.stopping = exits
    async with lifespan(agent) as server:
        pass
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert "closing on_shutdown was cut short by SystemExit" in caplog.text
