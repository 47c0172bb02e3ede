"""Where a request goes, whatever hosts and servers do to its path."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware
from asgi_agentrt._server._paths import locate
from tests.support.driver import call
from tests.support.in_process import ask, invocation, lifespan, said
from tests.support.spies import Spy, agent_of


class Shape(NamedTuple):
    """What arrives for a request, and what must be read from it; None: the key is missing."""

    path: str
    root_path: str | None
    raw_path: bytes | None
    found: tuple[str, str] | None
    path_remaining: str | None = None


SHAPES = {
    # By the specification: `path` begins with `root_path`.
    "alone": Shape("/health", "", b"/health", ("/health", "")),
    "alone, no root_path": Shape("/health", None, b"/health", ("/health", "")),
    "Starlette's Mount": Shape("/agent/health", "/agent", b"/agent/health", ("/health", "/agent")),
    "Mount, its top": Shape("/agent/", "/agent", b"/agent/", ("/", "/agent")),
    "its top without a slash": Shape("/agent", "/agent", b"/agent", ("/", "/agent")),
    "slash at the end": Shape("/agent/health/", "/agent", b"/agent/health/", ("/health", "/agent")),
    "mounts in mounts": Shape("/a/b/c/health", "/a/b/c", b"/a/b/c/health", ("/health", "/a/b/c")),
    "no raw_path (a2wsgi)": Shape("/agent/health", "/agent", None, ("/health", "/agent")),
    "root_path with a slash": Shape(
        "/agent/health", "/agent/", b"/agent/health", ("/health", "/agent")
    ),
    "no path at all": Shape("", "/agent", b"/agent", ("/", "/agent")),
    "query in raw_path": Shape(
        "/agent/health", "/agent", b"/agent/health?a=/b", ("/health", "/agent")
    ),
    # Below a proxy's prefix, which uvicorn puts in front and the others leave out.
    "uvicorn's prefix": Shape(
        "/proxy/agent/health", "/proxy/agent", b"/proxy/agent/health", ("/health", "/proxy/agent")
    ),
    "hypercorn's prefix": Shape(
        "/agent/health", "/proxy/agent", b"/agent/health", ("/health", "/proxy/agent")
    ),
    "hypercorn's prefix, alone": Shape("/health", "/proxy", b"/health", ("/health", "/proxy")),
    "hypercorn's, kept by the proxy": Shape(
        "/proxy/health", "/proxy", b"/proxy/health", ("/health", "/proxy")
    ),
    # Litestar cuts the prefix off, adds a slash, and says nothing in root_path.
    "Litestar": Shape("/health/", "", b"/agent/health", ("/health", "/agent")),
    "Litestar, its top": Shape("/", "", b"/agent", ("/", "/agent")),
    "Litestar, encoded": Shape("/a/b ü/", "", b"/agent/a%2Fb%20%C3%BC", ("/a/b ü", "/agent")),
    "Litestar's look-alike": Shape("x/health/", "", b"/agentx/health", None),
    "Litestar, uvicorn's prefix": Shape(
        "/health/", "/proxy", b"/proxy/agent/health", ("/health", "/proxy/agent")
    ),
    "Litestar, hypercorn's prefix": Shape(
        "/health/", "/proxy", b"/agent/health", ("/health", "/proxy/agent")
    ),
    # Channels leaves both alone and says what its patterns did not match.
    "channels' path": Shape("/agent/health", "", b"/agent/health", ("/health", "/agent"), "health"),
    "channels' re_path": Shape(
        "/agent/health", "", b"/agent/health", ("/health", "/agent"), "/health"
    ),
    "channels, its top": Shape("/agent/", "", b"/agent/", ("/", "/agent"), ""),
    "channels, uvicorn's prefix": Shape(
        "/proxy/agent/health",
        "/proxy",
        b"/proxy/agent/health",
        ("/health", "/proxy/agent"),
        "/health",
    ),
    # Hosts that cut the prefix off and extend root_path, as WSGI has it.
    "cut off": Shape("/health", "/agent", b"/agent/health", ("/health", "/agent")),
    "cut off, and a route of the mount's name": Shape(
        "/agent/x", "/agent", b"/agent/agent/x", ("/agent/x", "/agent")
    ),
    # BlackSheep takes any prefix for its mount; the route that is left is none of ours.
    "BlackSheep's look-alike": Shape(
        "/agentx/health", "/agen", b"/agentx/health", ("/agentx/health", "/agen")
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_that_was_seen_is_read(name: str) -> None:
    shape = SHAPES[name]
    scope: dict[str, Any] = {
        key: value for key, value in shape._asdict().items() if key != "found" and value is not None
    }
    before = dict(scope)
    assert locate(scope) == shape.found
    assert scope == before


def prefixed(path: str, server: str) -> dict[str, Any]:
    """What a server started with `--root-path /proxy` makes of a path that a client sees."""
    inner = path.removeprefix("/proxy")
    shown = {"none": inner, "uvicorn": path, "hypercorn": inner}[server]
    root = "" if server == "none" else "/proxy"
    return {"path": shown, "raw_path": shown.encode(), "extra": {"root_path": root}}


async def page(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"theirs {request.url.path}", 418)


def mounted(agent: AgentRuntimeASGI) -> Any:
    routes = [Mount("/agent", agent), Route("/{path:path}", page, methods=["GET", "POST"])]
    return Starlette(routes=routes, lifespan=agent.lifespan)


def attached(agent: AgentRuntimeASGI) -> Any:
    host = Starlette(routes=[Route("/{path:path}", page, methods=["GET", "POST"])])
    agent.attach(host, "agent/")
    return host


def nested(agent: AgentRuntimeASGI) -> Any:
    """The agent is attached to an app that is mounted under nothing of its own."""
    inner = Starlette()
    agent.attach(inner, "/agent")
    routes = [Mount("/agent", inner), Route("/{path:path}", page, methods=["GET", "POST"])]
    return Starlette(routes=routes, lifespan=agent.lifespan)


def wrapped(agent: AgentRuntimeASGI) -> Any:
    host = Starlette(routes=[Route("/{path:path}", page, methods=["GET", "POST"])])
    return AgentRuntimeMiddleware(host, agent, path="agent")


@pytest.mark.parametrize("server", ["none", "uvicorn", "hypercorn"])
@pytest.mark.parametrize("host", [mounted, attached, wrapped])
async def test_the_same_paths_lead_to_us_on_every_host_and_server(
    spy: Spy, host: Any, server: str
) -> None:
    app = host(agent_of(spy))

    async def status(path: str, method: str = "GET") -> int:
        made = prefixed("/proxy" + path, server)
        answer = await ask(app, made["path"], method, raw_path=made["raw_path"], **made["extra"])
        assert "location" not in answer.headers
        return answer.status

    async with lifespan(app):
        assert await status("/agent/health") == 200
        assert await status("/agent/health/") == 200
        assert await status("/agent/invoke") == 405
        assert await status("/agent/") == 404
        assert await status("/agent//health") == 404
        assert await status("/agent/health/deeper") == 404
        assert await status("/agentx/health") == 418
        assert await status("/health") == 418
        assert await status("/") == 418
        if host is not mounted:  # Starlette's own mount leaves its bare path to others
            assert await status("/agent") == 404
            assert await status("/agent", "POST") == 404


@pytest.mark.parametrize("host", [mounted, attached, wrapped])
@pytest.mark.parametrize("path", ["/agent/invoke", "/agent/invoke/"])
async def test_a_body_arrives_whatever_the_path_ends_with(spy: Spy, host: Any, path: str) -> None:
    app = host(agent_of(spy))
    async with lifespan(app):
        answer = await call(app, invocation("hi", path))
        assert (answer.status, said(answer)) == (200, ["hello"])


@pytest.mark.parametrize("host", [mounted, attached, wrapped])
async def test_an_encoded_slash_is_one(spy: Spy, host: Any) -> None:
    """Servers decode it before anybody sees it, so it leads where a plain one does."""
    app = host(agent_of(spy))
    async with lifespan(app):
        assert (await ask(app, "/agent/health", raw_path=b"/agent%2Fhealth")).status == 200


async def test_attach_answers_its_bare_path_below_a_prefix_that_the_host_was_told(
    agent: AgentRuntimeASGI,
) -> None:
    """As `FastAPI(root_path=…)` does: it is set without the path showing it."""
    host = Starlette()
    agent.attach(host, "/agent")
    async with lifespan(host):
        answer = await ask(host, "/agent", "POST", root_path="/proxy")
        assert answer.status == 404
        assert answer.error_code == "NOT_FOUND"


async def test_our_404_and_405_say_what_there_is(agent: AgentRuntimeASGI) -> None:
    async with lifespan(agent):
        missing = await ask(agent, "/nothing")
        assert (missing.status, missing.error_code) == (404, "NOT_FOUND")
        wrong = await ask(agent, "/health", "DELETE")
        assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
