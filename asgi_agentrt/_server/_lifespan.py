"""The lifespan protocol: our own as a root app, and with a host's behind ours."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias

import anyio

from .._types import ASGIApp, Message, Receive, Scope, Send
from ..exceptions import AgentRuntimeError
from ._instance import Instance

logger = logging.getLogger(__name__)

Phase: TypeAlias = Literal["startup", "shutdown"]


async def serve_lifespan(
    instance: Instance, scope: Scope, receive: Receive, send: Send, *, host: ASGIApp | None = None
) -> None:
    """Start at the server's word, the host after us; stop in the opposite order.

    Never raises for a start that failed: servers take an exception here for "lifespan is not
    supported" and serve an app that did not start.
    """
    message = await receive()
    if message["type"] == "lifespan.shutdown":  # some bridges never said startup
        await send({"type": "lifespan.shutdown.complete"})
        return
    try:
        if host is None:
            await instance.open("lifespan", by_default="fail")
        else:
            await instance.open("wrapped", by_default="degrade")
    except AgentRuntimeError as error:
        reason = f"the agent runtime could not start: {error}"
        await send({"type": "lifespan.startup.failed", "message": reason})
        return
    answer: Message = {"type": "lifespan.shutdown.complete"}
    try:
        if host is None:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        else:
            answer = await _serve_host(host, instance, scope, receive, send)
    finally:
        await instance.close()
    await send(answer)


async def _serve_host(
    host: ASGIApp, instance: Instance, scope: Scope, receive: Receive, send: Send
) -> Message:
    """Run the host's lifespan; return the last message that the server gets."""
    inner = _HostLifespan(host, scope)
    failure: Message | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inner.run)
        failure = await inner.tell("startup")
        if failure is None:
            await send({"type": "lifespan.startup.complete"})
            await receive()
            if instance.runtime is not None:
                instance.runtime.drain()  # our streams end while the host shuts down
            failure = await inner.tell("shutdown")
        tasks.cancel_scope.cancel()
    return failure or {"type": "lifespan.shutdown.complete"}


class _HostLifespan:
    """The server's side of the lifespan protocol, spoken to a host that may not know it."""

    def __init__(self, host: ASGIApp, scope: Scope) -> None:
        self._host = host
        self._scope = scope
        self._phase: Phase = "startup"
        self._said = anyio.Event()
        # By phase: a host that breaks after its start has answered for the start all the same.
        self._answers: dict[Phase, Message] = {}
        self._answered = anyio.Event()
        self._has_ended = False

    async def run(self) -> None:
        """Run the host's lifespan call to its end."""
        try:
            await self._host(self._scope, self._receive, self._send)
        except Exception as error:
            answer = self._answers.get("startup")
            if answer is None:
                # How hosts without a lifespan (Django) say so.
                logger.debug("the host speaks no lifespan: %r", error)
            elif not _is_failure(answer):  # Starlette raises what it has said, too
                logger.exception("the host's lifespan failed")
                failure = {"type": "lifespan.shutdown.failed", "message": str(error)}
                self._answers.setdefault("shutdown", failure)
        finally:
            self._has_ended = True
            self._answered.set()

    async def tell(self, phase: Phase) -> Message | None:
        """Say that it starts or stops, and wait; return the host's word if it failed."""
        if not self._has_ended:
            self._answered = anyio.Event()
            self._phase = phase
            self._said.set()
            await self._answered.wait()
        answer = self._answers.get(phase)
        return answer if answer is not None and _is_failure(answer) else None

    async def _receive(self) -> Message:
        await self._said.wait()
        self._said = anyio.Event()
        return {"type": f"lifespan.{self._phase}"}

    async def _send(self, message: Message) -> None:
        self._answers[self._phase] = message
        self._answered.set()


def _is_failure(answer: Message) -> bool:
    return bool(answer["type"].endswith(".failed"))
