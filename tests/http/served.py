"""What the servers of these tests serve: `root` by itself, `host` below an app with a page."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route

from asgi_agentrt import AgentRuntimeASGI, Msg, SessionContext

PAGE = "<!doctype html><meta charset=utf-8><title>page</title>"


def say(what: str) -> None:
    """Tell the test; servers are read line by line."""
    print(what, flush=True)  # noqa: T201


async def script(msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:  # noqa: C901  a table
    """Do what the message says."""
    try:
        match msg.content:
            case "hello":
                yield "Hello"
                yield Msg("bot", "wörld ✓ \u2028 \x85 \U0001f600", "assistant", {"n": 1}, id="m1")
            case "lines":
                yield 'a\nb\r\nc\r"\\/\x00\x1f'
            case "wait":
                yield "waiting"
                await anyio.sleep_forever()
            case "flood":
                for number in range(100_000):
                    yield "x" * 4096
                    if number % 64 == 0:
                        say(f"flooded {number}")
            case "much":
                for _ in range(500):
                    yield "x" * 4096
            case "pulse":
                for number in range(5):
                    yield str(number)
                    await anyio.sleep(0.15)
            case "raise":
                yield "before"
                raise ValueError("the password is hunter2")
            case _:
                yield {"content": msg.content, "metadata": ctx.metadata}
    finally:
        say(f"left {ctx.session_id} {ctx.cancel_reason}")


agent = AgentRuntimeASGI(
    app=script,
    config={
        "session": {"backend": "memory"},
        "server": json.loads(os.environ.get("SERVED_CONFIG", "{}")),
    },
)


async def page(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


async def beside(request: Request) -> PlainTextResponse:
    return PlainTextResponse("beside")


root = agent
host = Starlette(routes=[Route("/page", page), Route("/agentx", beside)])
agent.attach(host, "/agent")
