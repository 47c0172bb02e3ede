"""Who may call, whose session it is, and the routes that tell about sessions."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from asgi_agentrt import AgentRuntimeASGI, Msg, SessionContext, host_user
from tests.support.driver import Exchange, Request, call, get, invocation, texts

ROUTES = {"session": {"backend": "memory", "routes": True}}


async def count(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
    ctx.state["turns"] = ctx.state.get("turns", 0) + 1
    yield f"{ctx.user_id or 'nobody'} {ctx.state['turns']}"


def by_header(request: HTTPConnection) -> str | None:
    return request.headers.get("x-user")


def as_user(request: Request, user: str, **extra: Any) -> Request:
    return replace(request, headers={**request.headers, "x-user": user}, extra=extra)


def delete(path: str) -> Request:
    return Request(method="DELETE", path=path, headers={})


async def said(agent: AgentRuntimeASGI, request: Request) -> list[Any]:
    return texts((await call(agent, request)).events)


# ---- identity ----------------------------------------------------------------------------------


async def test_the_identity_function_says_whose_session_it_is_and_the_body_does_not() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=by_header)
    async with agent.lifespan():
        lie = {"user_id": "ada"}
        assert await said(agent, as_user(invocation(), "ada")) == ["ada 1"]
        assert await said(agent, as_user(invocation(metadata=lie), "bob")) == ["bob 1"]
        assert await said(agent, as_user(invocation(), "ada")) == ["ada 2"]


@pytest.mark.parametrize("request_", [invocation(), get("/sessions/s1"), delete("/sessions/s1")])
async def test_nobody_s_request_is_refused_on_every_route(request_: Request) -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=by_header)
    async with agent.lifespan():
        answer = await call(agent, request_)
    assert (answer.status, answer.error_code) == (401, "UNAUTHORIZED")


async def test_health_asks_nobody_who_he_is() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=by_header)
    async with agent.lifespan():
        for path in ("/health", "/health/live", "/health/ready"):
            assert (await call(agent, get(path))).status == 200


async def test_the_identity_function_may_be_async() -> None:
    async def identity(request: HTTPConnection) -> str | None:
        return by_header(request)

    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=identity)
    async with agent.lifespan():
        assert await said(agent, as_user(invocation(), "ada")) == ["ada 1"]


async def test_an_identity_function_that_fails_lets_nobody_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def identity(request: HTTPConnection) -> str:
        raise ConnectionError("hunter2")

    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=identity)
    async with agent.lifespan():
        answer = await call(agent, invocation())
    assert (answer.status, answer.error_code) == (500, "INTERNAL")
    assert b"hunter2" not in answer.content
    assert "ConnectionError" in caplog.text


@pytest.mark.parametrize("user", ["a" * 257, "a\x80b"])
@pytest.mark.parametrize("request_", [invocation(), get("/sessions/s1"), delete("/sessions/s1")])
async def test_an_identity_that_can_be_no_user_s_is_refused(request_: Request, user: str) -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=lambda _: user)
    async with agent.lifespan():
        answer = await call(agent, request_)
    assert (answer.status, answer.error_code) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("request_", [invocation(), get("/sessions/s1")])
async def test_an_identity_that_is_no_text_is_the_host_s_fault(
    request_: Request, caplog: pytest.LogCaptureFixture
) -> None:
    def identity(request: HTTPConnection) -> Any:
        return 42

    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=identity)
    async with agent.lifespan():
        answer = await call(agent, request_)
    assert (answer.status, answer.error_code) == (500, "INTERNAL")
    assert "the identity function returned a value of type int" in caplog.text


class Login(AuthenticationBackend):
    """HTTP Basic without passwords."""

    async def authenticate(self, conn: HTTPConnection) -> Any:
        if (header := conn.headers.get("authorization")) is None:
            return None
        name = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")[0]
        return AuthCredentials(["authenticated"]), SimpleUser(name)


async def test_the_host_s_own_login_says_who_the_user_is() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=host_user)
    host = AuthenticationMiddleware(agent, backend=Login())
    async with agent.lifespan():
        assert (await call(host, invocation())).status == 401
        token = base64.b64encode(b"ada:").decode()
        request = invocation()
        request = replace(request, headers={**request.headers, "authorization": f"Basic {token}"})
        assert texts((await call(host, request)).events) == ["ada 1"]


class DjangoUser:
    """What Django's login middlewares leave in the scope."""

    pk = 42
    is_authenticated = True


class Anonymous:
    pk = None
    is_authenticated = False


@pytest.mark.parametrize(
    ("scope", "user_id"),
    [
        ({}, None),
        ({"user": None}, None),
        ({"user": Anonymous()}, None),
        ({"user": DjangoUser()}, "42"),
    ],
)
def test_host_user_knows_the_users_of_hosts(scope: dict[str, Any], user_id: str | None) -> None:
    request = HTTPConnection({"type": "http", "headers": [], **scope})
    assert host_user(request) == user_id


# ---- the session routes ------------------------------------------------------------------------


async def test_the_routes_are_off_unless_asked_for() -> None:
    agent = AgentRuntimeASGI(app=count, config={"session": {"backend": "memory"}})
    async with agent.lifespan():
        await call(agent, invocation())
        for request in (get("/sessions/s1"), delete("/sessions/s1")):
            assert (await call(agent, request)).error_code == "NOT_FOUND"
        assert await said(agent, invocation()) == ["nobody 2"]


async def test_a_session_tells_how_much_it_was_used_and_can_be_deleted() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES)
    async with agent.lifespan():
        for _ in range(3):
            await call(agent, invocation())
        answer = await call(agent, get("/sessions/s1"))
        assert answer.status == 200
        body = answer.json
        assert list(body) == ["session_id", "turns", "state_bytes", "last_used"]
        assert (body["session_id"], body["turns"]) == ("s1", 3)
        assert body["state_bytes"] > 10
        assert body["last_used"].endswith("Z")
        head = await call(agent, replace(get("/sessions/s1"), method="HEAD"))
        assert (head.status, head.content) == (200, b"")
        gone = await call(agent, delete("/sessions/s1"))
        assert (gone.status, gone.content) == (204, b"")
        for request in (get("/sessions/s1"), delete("/sessions/s1")):
            assert (await call(agent, request)).error_code == "NOT_FOUND"
        assert await said(agent, invocation()) == ["nobody 1"]


async def test_someone_else_s_session_is_not_there() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES, identity=by_header)
    async with agent.lifespan():
        await call(agent, as_user(invocation(), "ada"))
        for request in (get("/sessions/s1"), delete("/sessions/s1")):
            other = as_user(request, "bob", query_string=b"user_id=ada")
            assert (await call(agent, other)).error_code == "NOT_FOUND"
        assert (await call(agent, as_user(get("/sessions/s1"), "ada"))).json["turns"] == 1


async def test_without_an_identity_the_query_names_the_user() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES)
    async with agent.lifespan():
        await call(agent, invocation(metadata={"user_id": "a d/ä"}))
        named = replace(get("/sessions/s1"), extra={"query_string": b"user_id=a%20d/%C3%A4"})
        assert (await call(agent, named)).json["turns"] == 1
        assert (await call(agent, get("/sessions/s1"))).status == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sessions", 404),
        ("/sessions/", 404),
        ("/sessions/a/b", 404),
        (f"/sessions/{'x' * 257}", 400),
    ],
)
async def test_odd_ids_are_answered_cleanly(path: str, status: int) -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES)
    async with agent.lifespan():
        assert (await call(agent, get(path))).status == status


async def test_an_id_may_hold_slashes() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES)
    async with agent.lifespan():
        await call(agent, invocation("a/b"))
        assert (await call(agent, get("/sessions/a/b"))).json["session_id"] == "a/b"


async def test_other_methods_are_refused() -> None:
    agent = AgentRuntimeASGI(app=count, config=ROUTES)
    async with agent.lifespan():
        answer = await call(agent, Request(method="PUT", path="/sessions/s1"))
        assert answer.error_code == "METHOD_NOT_ALLOWED"
        assert answer.headers["allow"] == "GET, HEAD, DELETE, OPTIONS"


async def test_the_api_key_guards_the_session_routes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    agent = AgentRuntimeASGI(app=count, config={**ROUTES, "server": {"api_key": "hunter2"}})
    async with agent.lifespan():
        answers: list[Exchange] = []
        for key in ("", "hunter3", "hunter2"):
            request = replace(get("/sessions/none"), headers={"authorization": f"Bearer {key}"})
            answers.append(await call(agent, request))
    assert [answer.status for answer in answers] == [401, 401, 404]
    assert "hunter2" not in caplog.text
