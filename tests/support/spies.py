"""Apps that do as they are told and keep a record."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentApp, AgentRuntimeASGI, SessionContext

TENANT = contextvars.ContextVar("tenant", default="nobody")

QUIET: dict[str, Any] = {"session": {"backend": "memory"}}


async def at_once() -> None:
    """A start or stop that takes no time."""


class Spy(AgentApp):
    """Answers `hi` with `hello`, `hang` with `begun` and silence, `tenant` with the variable.

    `slow` is answered with `begun`, and ends once `go_on` is set.

    Attributes:
        tries: How often a start began.
        record: What happened, in order.
        starting: Awaited while it starts; may fail.
        stopping: Awaited while it stops.
        unwinding: Awaited by a call that was left, shielded.
    """

    def __init__(self) -> None:
        self.tries = 0
        self.record: list[str] = []
        self.starting: Callable[[], Awaitable[None]] = at_once
        self.stopping: Callable[[], Awaitable[None]] = at_once
        self.unwinding: Callable[[], Awaitable[None]] = at_once
        self.go_on = anyio.Event()
        self.tenant_at_start = ""

    @property
    def started(self) -> int:
        return self.record.count("started")

    @property
    def stopped(self) -> int:
        return self.record.count("stopped")

    async def on_startup(self) -> None:
        self.tries += 1
        await self.starting()
        self.tenant_at_start = TENANT.get()
        self.record.append("started")

    async def on_shutdown(self) -> None:
        await self.stopping()
        self.record.append("stopped")

    async def __call__(self, msg: dict[str, Any], ctx: SessionContext) -> AsyncIterator[Any]:
        if msg["content"] == "tenant":
            yield TENANT.get()
        elif msg["content"] == "slow":
            yield "begun"
            await self.go_on.wait()
        elif msg["content"] == "hang":
            try:
                yield "begun"
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await self.unwinding()
                self.record.append(f"left: {ctx.cancel_reason}")
        else:
            yield "hello"


def failing(reason: str = "the database is down", times: int = 1) -> Callable[[], Awaitable[None]]:
    """Return what fails as often as said, and then no more."""
    left = times

    async def fail() -> None:
        nonlocal left
        if left:
            left -= 1
            raise ConnectionError(reason)

    return fail


def agent_of(spy: Spy, **server: Any) -> AgentRuntimeASGI:
    """Return an agent that serves this app, with settings of the section `server`."""
    return AgentRuntimeASGI(config={**QUIET, "server": server}, app=spy)


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Return what we logged from a level on; asyncio's debug mode talks on a busy machine, too."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= level and record.name.startswith("asgi_agentrt")
    ]
