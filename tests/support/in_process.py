"""A server in the test's own event loop, as far as hosting goes: lifespans, mounts, odd scopes.

Every wait has a limit, so that an app that never answers fails its test.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from asgi_agentrt._types import ASGIApp, Message

from . import driver
from .driver import LIMIT_S, Exchange


class Request(driver.Request):
    """A request whose scope may lack keys: those that `extra` holds None for."""

    def scope(self) -> dict[str, Any]:
        return {key: value for key, value in super().scope().items() if value is not None}


async def ask(app: ASGIApp, path: str = "/health", method: str = "GET", **extra: Any) -> Exchange:
    """Send a request without a body and return the whole answer."""
    request = Request(method=method, path=path, headers={"host": "testserver"}, extra=extra)
    return await driver.call(app, request)


def invocation(text: str = "hi", path: str = "/invoke", **extra: Any) -> Request:
    """Return a request that calls an agent."""
    made = driver.invocation(content=text)
    return Request(made.parts, path=path, headers=made.headers, extra=extra)


async def invoke(app: ASGIApp, text: str = "hi", path: str = "/invoke", **extra: Any) -> Exchange:
    """Call an agent and return the whole answer."""
    return await driver.call(app, invocation(text, path, **extra))


def calling(
    app: ASGIApp, text: str = "hi", path: str = "/invoke", session_id: str = "s1"
) -> AbstractAsyncContextManager[Exchange]:
    """Call an agent and stay connected for the length of the block."""
    return driver.open_stream(app, replace(driver.invocation(session_id, text), path=path))


def said(answer: Exchange) -> list[Any]:
    """Return the contents of a stream's messages, the done event's left out."""
    return driver.texts(answer.events)


class Lifespan:
    """A server's side of the lifespan protocol; `sent` is what the app said, by its type."""

    def __init__(self, app: ASGIApp, state: Mapping[str, Any] | None = None) -> None:
        self.messages: list[Message] = []
        self.scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}}
        if state is not None:
            self.scope["state"] = dict(state)
        self.is_over = False
        self.error: Exception | None = None
        self._app = app
        self._words: list[Message] = []
        self._said = anyio.Event()
        self._news = anyio.Event()

    @property
    def sent(self) -> list[str]:
        return [message["type"].removeprefix("lifespan.") for message in self.messages]

    @property
    def message(self) -> str:
        """The reason that was given with the last message."""
        return str(self.messages[-1].get("message", ""))

    async def serve(self) -> None:
        """Run the app's lifespan call; what it raises is kept, as servers do."""
        try:
            await self._app(self.scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001  raised again by `lifespan`
            self.error = error
        finally:
            self.is_over = True
            self._notify()

    async def say(self, word: str) -> None:
        """Say startup or shutdown, and wait for the app's answer or its end."""
        count = len(self.messages)
        self._words.append({"type": f"lifespan.{word}"})
        self._said.set()
        await self._until(lambda: len(self.messages) > count or self.is_over)

    async def ended(self) -> None:
        """Wait until the app has returned."""
        await self._until(lambda: self.is_over)

    async def receive(self) -> Message:
        """Give the app the next word."""
        while not self._words:
            self._said = anyio.Event()
            await self._said.wait()
        return self._words.pop(0)

    async def send(self, message: Message) -> None:
        """Take a message from the app."""
        self.messages.append(message)
        self._notify()

    def _notify(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    async def _until(self, is_so: Any) -> None:
        with anyio.fail_after(LIMIT_S):
            while not is_so():
                await self._news.wait()


@asynccontextmanager
async def lifespan(
    app: ASGIApp, state: Mapping[str, Any] | None = None
) -> AsyncGenerator[Lifespan]:
    """Be a server: startup before the block, shutdown after it if the startup was completed."""
    server = Lifespan(app, state)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await server.say("startup")
        yield server
        if server.sent == ["startup.complete"]:
            await server.say("shutdown")
        await server.ended()
    # Starlette also raises what it has said.
    if server.error is not None and not any(".failed" in word for word in server.sent):
        raise server.error
