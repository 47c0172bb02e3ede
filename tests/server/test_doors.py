"""The ways to start and stop an agent, alone and together."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware
from asgi_agentrt._types import Receive, Send
from asgi_agentrt._types import Scope as ASGIScope
from tests.support.in_process import ask, invoke, lifespan, said
from tests.support.spies import Spy, agent_of


async def greet(request: Request) -> JSONResponse:
    return JSONResponse({"host": getattr(request.state, "greeting", None)})


@asynccontextmanager
async def host_lifespan(app: Any) -> AsyncGenerator[dict[str, str]]:
    yield {"greeting": "moin"}


def composed(agent: AgentRuntimeASGI) -> Any:
    return Starlette(
        routes=[Route("/health", greet), Mount("/agent", agent)], lifespan=agent.lifespan
    )


def entered(agent: AgentRuntimeASGI) -> Any:
    @asynccontextmanager
    async def both(app: Starlette) -> AsyncGenerator[dict[str, str]]:
        async with agent.lifespan(app), host_lifespan(app) as state:
            yield state

    return Starlette(routes=[Route("/health", greet), Mount("/agent", agent)], lifespan=both)


def hooked(agent: AgentRuntimeASGI) -> Any:
    @asynccontextmanager
    async def hooks(app: Starlette) -> AsyncGenerator[None]:
        await agent.start()
        yield
        await agent.stop()

    return Starlette(routes=[Route("/health", greet), Mount("/agent", agent)], lifespan=hooks)


def attached(agent: AgentRuntimeASGI) -> Any:
    host = Starlette(routes=[Route("/health", greet)], lifespan=host_lifespan)
    agent.attach(host, "/agent")
    return host


def wrapped(agent: AgentRuntimeASGI) -> Any:
    host = Starlette(routes=[Route("/health", greet)], lifespan=host_lifespan)
    return AgentRuntimeMiddleware(host, agent)


def mounted(agent: AgentRuntimeASGI) -> Any:
    return Starlette(
        routes=[Route("/health", greet), Mount("/agent", agent)], lifespan=host_lifespan
    )


@pytest.mark.parametrize("with_state", [True, False], ids=["state", "no state"])
async def test_a_root_app_lives_as_long_as_the_server_says(
    agent: AgentRuntimeASGI, spy: Spy, with_state: bool
) -> None:
    async with lifespan(agent, state={} if with_state else None) as server:
        assert server.sent == ["startup.complete"]
        assert spy.record == ["started"]
        health = await ask(agent)
        assert health.status == 200
        assert health.json["started_by"] == "lifespan"
        assert said(await invoke(agent)) == ["hello"]
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert spy.record == ["started", "stopped"]


@pytest.mark.parametrize(
    ("door", "started_by"),
    [
        (composed, "composed"),
        (entered, "composed"),
        (hooked, "composed"),
        (attached, "composed"),
        (wrapped, "wrapped"),
    ],
)
async def test_an_agent_in_a_host_is_up_before_the_first_request_and_stops_with_it(
    agent: AgentRuntimeASGI, spy: Spy, door: Any, started_by: str
) -> None:
    host = door(agent)
    async with lifespan(host, state={}) as server:
        assert spy.record == ["started"]
        health = await ask(host, "/agent/health")
        assert (health.status, health.json["started_by"]) == (200, started_by)
        assert said(await invoke(host, path="/agent/invoke")) == ["hello"]
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert (spy.tries, spy.record) == (1, ["started", "stopped"])


@pytest.mark.parametrize("door", [entered, attached, wrapped, mounted])
async def test_the_host_s_own_lifespan_and_routes_stay_as_they_were(
    agent: AgentRuntimeASGI, door: Any
) -> None:
    host = door(agent)
    async with lifespan(host, state={}) as server:
        # As a server does: each request gets a copy of the state that the lifespan has left.
        answer = await ask(host, "/health", state=dict(server.scope["state"]))
        assert answer.json == {"host": "moin"}
        assert server.scope["state"] == {"greeting": "moin"}


async def test_a_mere_mount_starts_with_the_first_request_and_ends_with_the_loop(
    spy: Spy, anyio_backend: Any
) -> None:
    """The loop's end is another test's; here it is an explicit stop."""
    agent = agent_of(spy)
    host = mounted(agent)
    async with lifespan(host, state={}):
        assert spy.record == []
        health = await ask(host, "/agent/health")
        assert (health.status, health.json["started_by"]) == (200, "lazy")
        assert spy.record == ["started"]
        await agent.stop()
        assert spy.record == ["started", "stopped"]


class Order(Spy):
    """Also records the host that it lives in."""

    def host(self) -> Starlette:
        @asynccontextmanager
        async def host_lifespan(app: Any) -> AsyncGenerator[None]:
            self.record.append("host started")
            yield
            self.record.append("host stopped")

        return Starlette(lifespan=host_lifespan)


@pytest.mark.parametrize("way", ["attach", "wrap"])
async def test_the_agent_is_up_before_the_host_and_down_after_it(way: str) -> None:
    spy = Order()
    agent, host = agent_of(spy), spy.host()
    app: Any = host
    if way == "attach":
        agent.attach(host, "/agent")
    else:
        app = AgentRuntimeMiddleware(host, agent)
    async with lifespan(app):
        pass
    assert spy.record == ["started", "host started", "host stopped", "stopped"]


async def test_several_doors_and_mounts_start_once_and_the_last_one_stops(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    inner = Starlette(routes=[Mount("/a", agent), Mount("/b", agent)], lifespan=agent.lifespan)
    agent.attach(inner, "/c")
    host = AgentRuntimeMiddleware(inner, agent, path="/d")
    async with lifespan(host):
        async with agent.lifespan():
            assert (spy.tries, spy.record) == (1, ["started"])
        for path in ("/a", "/b", "/c", "/d"):
            health = await ask(host, f"{path}/health")
            assert (health.status, health.json["started_by"]) == (200, "wrapped")
    assert (spy.tries, spy.record) == (1, ["started", "stopped"])


async def test_two_agents_in_one_host_live_apart() -> None:
    one, two = Spy(), Spy()
    first, second = agent_of(one), agent_of(two)
    host = Starlette(lifespan=second.lifespan)
    first.attach(host, "/one")
    second.attach(host, "/two")
    async with lifespan(host):
        await first.stop()
        assert (one.record, two.record) == (["started", "stopped"], ["started"])
        assert (await ask(host, "/one/health")).status == 503
        assert (await ask(host, "/two/health")).status == 200
    assert (one.record, two.record) == (["started", "stopped"],) * 2


async def test_start_and_stop_may_be_called_from_different_tasks(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    for step in (agent.start, agent.stop):
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(step)
    assert spy.record == ["started", "stopped"]


async def test_after_an_orderly_stop_a_late_request_does_not_start_it_again(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    async with lifespan(agent):
        pass
    health = await ask(agent)
    assert (health.status, health.json["status"]) == (503, "draining")
    late = await invoke(agent)
    assert (late.status, late.error_code) == (503, "NOT_READY")
    assert "retry-after" in late.headers
    assert spy.tries == 1


async def test_stopping_what_never_started_is_fine(agent: AgentRuntimeASGI, spy: Spy) -> None:
    with anyio.fail_after(5):
        await agent.stop()
    assert spy.record == []


async def test_one_object_lives_through_many_lifespans(agent: AgentRuntimeASGI, spy: Spy) -> None:
    for _ in range(3):
        async with lifespan(agent):
            assert (await invoke(agent)).status == 200
    assert spy.record == ["started", "stopped"] * 3


async def test_a_lifespan_that_begins_while_the_last_one_closes_gets_a_runtime_of_its_own(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    closing, may_close = anyio.Event(), anyio.Event()

    async def stopping() -> None:
        closing.set()
        await may_close.wait()

    await agent.start()
    spy.stopping = stopping
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.stop)
            await closing.wait()
            tasks.start_soon(agent.start)
            await anyio.wait_all_tasks_blocked()
            assert spy.record == ["started"]
            may_close.set()
        assert spy.record == ["started", "stopped", "started"]
        assert (await ask(agent)).status == 200
        await agent.stop()
    assert spy.record == ["started", "stopped"] * 2


async def test_a_request_that_arrives_while_it_closes_is_turned_away(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    closing, may_close = anyio.Event(), anyio.Event()

    async def stopping() -> None:
        closing.set()
        await may_close.wait()

    spy.stopping = stopping
    await agent.start()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.stop)
            await closing.wait()
            assert (await invoke(agent)).status == 503
            assert (await ask(agent)).json["status"] == "draining"
            may_close.set()
    assert spy.record == ["started", "stopped"]


async def test_the_runtime_can_be_had_while_it_is_open(agent: AgentRuntimeASGI, spy: Spy) -> None:
    from asgi_agentrt.exceptions import LifecycleError

    with pytest.raises(LifecycleError, match="not started in this event loop"):
        _ = agent.runtime
    async with lifespan(agent):
        assert agent.runtime.app is spy


async def test_attach_says_what_it_cannot_do(agent: AgentRuntimeASGI) -> None:
    with pytest.raises(TypeError, match="AgentRuntimeMiddleware wraps any other"):
        agent.attach(object(), "/agent")
    with pytest.raises(ValueError, match='"/agent"'):
        agent.attach(Starlette(), "/")


async def test_the_middleware_says_what_it_cannot_do(agent: AgentRuntimeASGI) -> None:
    with pytest.raises(ValueError, match='"/agent"'):
        AgentRuntimeMiddleware(Starlette(), agent, path="/")
    with pytest.raises(TypeError, match="config: give these to AgentRuntimeASGI"):
        AgentRuntimeMiddleware(Starlette(), agent, config={})


async def test_the_middleware_makes_an_agent_of_a_folder(tmp_path: Any, spy: Spy) -> None:
    config = {"session": {"backend": "memory"}}
    host = AgentRuntimeMiddleware(Starlette(), tmp_path, app=spy, config=config)
    async with lifespan(host):
        assert (await ask(host, "/agent/health")).status == 200
    assert spy.record == ["started", "stopped"]


async def test_a_web_socket_is_refused_politely(agent: AgentRuntimeASGI) -> None:
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await agent({"type": "websocket", "path": "/ws"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1003}]


async def test_a_kind_of_scope_that_nobody_knows_is_an_error(agent: AgentRuntimeASGI) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: Any) -> None:
        raise AssertionError

    with pytest.raises(NotImplementedError, match="'smtp'"):
        await agent({"type": "smtp"}, receive, send)


async def test_scopes_are_handed_on_as_they_came(agent: AgentRuntimeASGI) -> None:
    """Neither the host's scope nor its state is changed by us."""
    seen: list[ASGIScope] = []

    async def host(scope: ASGIScope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    app = AgentRuntimeMiddleware(host, agent)
    theirs: dict[str, Any] = {"type": "http", "path": "/agents", "root_path": "", "state": {"k": 1}}
    async with lifespan(agent):
        await app(theirs, None, None)  # type: ignore[arg-type]  the host does not use them
        assert seen == [theirs]
        assert seen[0] is theirs
        state: dict[str, Any] = {"k": 1}
        ours = {"type": "http", "path": "/agent/health", "method": "GET", "headers": []}
        scope = {**ours, "state": state}

        async def send(message: Any) -> None:
            pass

        await app(scope, None, send)  # type: ignore[arg-type]  a GET has no body to receive
        await agent(scope, None, send)  # type: ignore[arg-type]  a GET has no body to receive
        assert scope == {**ours, "state": {"k": 1}}
        assert scope["state"] is state
