"""Test clients, and other ways to run an app that are not quite servers."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from asgi_lifespan import LifespanManager
from asgiref.sync import async_to_sync
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from asgi_agentrt import AgentRuntimeASGI
from tests.support.in_process import ask, calling, invoke, said
from tests.support.spies import TENANT, Spy, agent_of

from .servers import body


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def agent(spy: Spy) -> AgentRuntimeASGI:
    return agent_of(spy)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_testclient_as_a_context_manager_starts_once_and_does_so_again(
    agent: AgentRuntimeASGI, spy: Spy, backend: Any
) -> None:
    host = Starlette(routes=[Mount("/agent", agent)], lifespan=agent.lifespan)
    for _ in range(2):
        with TestClient(host, backend=backend) as client:
            for _ in range(3):
                assert client.get("/agent/health").status_code == 200
            answer = client.post("/agent/invoke", json=body("hi"))
            assert '"content":"hello"' in answer.text
    assert spy.record == ["started", "stopped"] * 2


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_testclient_without_with_starts_for_each_request(
    agent: AgentRuntimeASGI, spy: Spy, backend: Any
) -> None:
    """It runs an event loop for each: slow, and correct."""
    client = TestClient(agent, backend=backend)
    for _ in range(2):
        assert client.get("/health").json()["started_by"] == "lazy"
        assert client.post("/invoke", json=body("hi")).status_code == 200
    assert spy.record == ["started", "stopped"] * 4


async def _get(agent: AgentRuntimeASGI) -> None:
    transport = httpx.ASGITransport(app=agent)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for _ in range(2):
            assert (await client.get("/health")).status_code == 200
            answer = await client.post("/invoke", json=body("hi"))
            assert '"content":"hello"' in answer.text


def test_httpx_asgi_transport_sends_no_lifespan(
    agent: AgentRuntimeASGI, spy: Spy, anyio_backend: Any
) -> None:
    anyio.run(_get, agent, backend=anyio_backend[0])
    assert spy.record == ["started", "stopped"]


def test_uvloop_is_an_event_loop_like_others(agent: AgentRuntimeASGI, spy: Spy) -> None:
    async def main() -> None:
        TENANT.set("ada")
        assert said(await invoke(agent, "tenant")) == ["ada"]
        async with agent.lifespan():
            assert (await ask(agent)).status == 200
        async with agent.lifespan(), calling(agent, "hang") as request:
            await request.next_event()

    anyio.run(main, backend_options={"use_uvloop": True})
    assert spy.tenant_at_start == "nobody"
    assert spy.started == spy.stopped == 2


async def test_asgi_lifespan_drives_it(agent: AgentRuntimeASGI, spy: Spy) -> None:
    async with LifespanManager(agent):
        assert (await ask(agent)).json["started_by"] == "lifespan"
    assert spy.record == ["started", "stopped"]


def test_async_to_sync_makes_an_event_loop_for_each_call(agent: AgentRuntimeASGI, spy: Spy) -> None:
    for _ in range(2):
        assert async_to_sync(ask)(agent).status == 200
    assert spy.record == ["started", "stopped"] * 2


@pytest.fixture
async def started(agent: AgentRuntimeASGI, spy: Spy) -> Any:
    """A fixture may be set up and torn down by different tasks."""
    await agent.start()
    yield agent
    await agent.stop()
    assert spy.record == ["started", "stopped"]


async def test_a_fixture_may_start_and_stop_it(started: AgentRuntimeASGI) -> None:
    assert (await ask(started)).status == 200


def test_a_server_in_a_thread_and_a_client_s_loop_share_the_object_and_nothing_else(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    alive = 0

    async def count_up() -> None:
        nonlocal alive
        alive += 1

    async def count_down() -> None:
        nonlocal alive
        alive -= 1

    spy.starting, spy.stopping = count_up, count_down
    listening = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(agent, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert httpx.get(f"{base}/health", timeout=10).status_code == 200  # queued until it runs
        with TestClient(agent) as client:
            assert client.get("/health").status_code == 200
            assert alive == 2
            assert httpx.get(f"{base}/health", timeout=10).status_code == 200
        assert alive == 1
        assert httpx.get(f"{base}/health", timeout=10).status_code == 200
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
    assert alive == 0
    assert spy.record.count("started") == spy.record.count("stopped") == 2


async def _through(request: Any, call_next: Any) -> Any:
    return await call_next(request)


async def test_below_base_http_middleware_it_outlives_its_first_request(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    host = Starlette(
        routes=[Mount("/agent", agent)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_through)],
    )
    for _ in range(3):
        assert said(await invoke(host, path="/agent/invoke")) == ["hello"]
    assert spy.record == ["started"]
    await agent.stop()
    assert spy.record == ["started", "stopped"]


async def test_below_base_http_middleware_a_client_that_leaves_ends_its_call_quietly(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    host = Starlette(
        routes=[Mount("/agent", agent)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=_through)],
        lifespan=agent.lifespan,
    )
    async with agent.lifespan():
        async with calling(host, "hang", "/agent/invoke") as request:
            await request.next_event()
            request.leave()
            await request.ended()
        assert request.error is None
    assert spy.record == ["started", "left: disconnected", "stopped"]
    assert "No response returned" not in caplog.text


def test_pytest_s_own_kind_of_loop_per_test_is_fine() -> None:
    """One object at module level, and an event loop for each test that uses it."""
    spy = Spy()
    agent = agent_of(spy)
    app = FastAPI(lifespan=agent.lifespan)
    app.mount("/agent", agent)

    async def test() -> int:
        async with app.router.lifespan_context(app):
            return (await ask(app, "/agent/health")).status

    assert [asyncio.run(test()) for _ in range(3)] == [200] * 3
    assert spy.record == ["started", "stopped"] * 3
