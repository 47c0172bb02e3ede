"""Frameworks as hosts: how they hand requests down, and how they pass their lifespan on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path, re_path
from fastapi import APIRouter, FastAPI
from litestar import Litestar, asgi, get
from quart import Quart

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware
from tests.support.driver import call
from tests.support.in_process import ask, invocation, lifespan, said
from tests.support.spies import Spy, agent_of

Make = Callable[[AgentRuntimeASGI], Any]


def fastapi(agent: AgentRuntimeASGI) -> Any:
    app = FastAPI(lifespan=agent.lifespan)
    app.mount("/agent", agent)
    return app


def fastapi_attached(agent: AgentRuntimeASGI) -> Any:
    app = FastAPI()
    agent.attach(app, "/agent")
    return app


def fastapi_router(agent: AgentRuntimeASGI) -> Any:
    """A plug-in that wires itself: FastAPI merges the lifespans of routers."""
    router = APIRouter(lifespan=agent.lifespan)
    router.mount("/agent", agent)
    app = FastAPI()
    app.include_router(router)
    return app


def fastapi_nested(agent: AgentRuntimeASGI) -> Any:
    @asynccontextmanager
    async def passed_on(app: Any) -> AsyncGenerator[None]:
        async with agent.lifespan(app):
            yield

    inner, outer = FastAPI(), FastAPI(lifespan=passed_on)
    inner.mount("/agent", agent)
    outer.mount("/", inner)
    return outer


def litestar(agent: AgentRuntimeASGI) -> Any:
    @get("/health")
    async def health() -> dict[str, str]:
        return {"host": "fine"}

    mounted = asgi("/agent", is_mount=True, copy_scope=True)(agent)
    return Litestar([health, mounted], lifespan=[agent.lifespan])


def quart(agent: AgentRuntimeASGI) -> Any:
    """Two doors: the middleware below Quart passes its lifespan on, too."""
    app = Quart("host")

    @app.while_serving
    async def serving() -> AsyncGenerator[None]:
        async with agent.lifespan():
            yield

    app.asgi_app = AgentRuntimeMiddleware(app.asgi_app, agent)  # type: ignore[method-assign]  as Quart's manual says
    return app


def quart_wrapped(agent: AgentRuntimeASGI) -> Any:
    return AgentRuntimeMiddleware(Quart("host"), agent)


def channels_path(agent: AgentRuntimeASGI) -> Any:
    return ProtocolTypeRouter({"http": URLRouter([path("agent/", agent)])})  # type: ignore[arg-type]  channels takes any app


def channels_re_path(agent: AgentRuntimeASGI) -> Any:
    return ProtocolTypeRouter({"http": URLRouter([re_path(r"^agent(?=/|$)", agent)])})  # type: ignore[arg-type]  channels takes any app


def channels_wrapped(agent: AgentRuntimeASGI) -> Any:
    return AgentRuntimeMiddleware(ProtocolTypeRouter({"http": URLRouter([])}), agent)


# Each with the way the agent is started there, and whether trio is known there at all.
FRAMEWORKS: dict[Make, tuple[str, bool]] = {
    fastapi: ("composed", True),
    fastapi_attached: ("composed", True),
    fastapi_router: ("composed", True),
    fastapi_nested: ("composed", True),
    litestar: ("composed", True),
    quart: ("wrapped", False),
    quart_wrapped: ("wrapped", False),
    channels_path: ("lazy", False),
    channels_re_path: ("lazy", False),
    channels_wrapped: ("wrapped", False),
}


@pytest.fixture(params=FRAMEWORKS, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest, anyio_backend: Any) -> Make:
    chosen: Make = request.param
    if anyio_backend[0] == "trio" and not FRAMEWORKS[chosen][1]:
        pytest.skip("asyncio only")
    return chosen


@asynccontextmanager
async def up(make: Make, agent: AgentRuntimeASGI) -> AsyncGenerator[Any]:
    """Run a host as a server would, which goes on with one that speaks no lifespan."""
    app = make(agent)
    if FRAMEWORKS[make][0] == "lazy":
        yield app
        await agent.stop()
    else:
        async with lifespan(app, state={}) as server:
            assert server.sent == ["startup.complete"]
            yield app


async def test_the_agent_lives_with_its_host(make: Make) -> None:
    spy = Spy()
    async with up(make, agent_of(spy)) as app:
        health = await ask(app, "/agent/health")
        assert (health.status, health.json["started_by"]) == (200, FRAMEWORKS[make][0])
        assert said(await call(app, invocation("hi", "/agent/invoke"))) == ["hello"]
    assert (spy.tries, spy.record) == (1, ["started", "stopped"])


async def test_paths_lead_where_they_lead_elsewhere(make: Make) -> None:
    async with up(make, agent_of(Spy())) as app:
        for good in ("/agent/health", "/agent/health/"):
            answer = await ask(app, good)
            assert answer.status == 200
        answer = await call(app, invocation("hi", "/agent/invoke/"))
        assert (answer.status, said(answer)) == (200, ["hello"])
        missing = await ask(app, "/agent/nothing")
        assert (missing.status, missing.error_code) == (404, "NOT_FOUND")
        if not make.__name__.startswith("channels") or make is channels_wrapped:
            assert await _status(app, "/agentx/health") == 404
        if make not in (fastapi, fastapi_router, fastapi_nested, channels_path):
            # Starlette's own mount answers 307 here, and channels' path() has no such route.
            assert await _status(app, "/agent") == 404
            assert await _status(app, "/agent", "POST") == 404


async def _status(app: Any, path: str, method: str = "GET") -> int:
    try:
        return (await ask(app, path, method)).status
    except ValueError:  # how channels says that it has no route
        return 404


async def test_litestar_s_own_routes_stay_its_own() -> None:
    async with up(litestar, agent_of(Spy())) as app:
        assert (await ask(app, "/health")).json == {"host": "fine"}
