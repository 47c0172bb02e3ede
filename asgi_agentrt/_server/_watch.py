"""Notice a client that leaves: no server says so with its `send()`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from .._types import Receive

logger = logging.getLogger(__name__)


class ClientWatch:
    """While entered, a task reads `receive()` and calls `on_left` when the client has gone.

    The request's body must have been read to its end.
    """

    def __init__(self, receive: Receive, *, on_left: Callable[[], None]) -> None:
        self._receive = receive
        self._on_left = on_left
        self._tasks: TaskGroup

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._watch)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(exc_type, exc, traceback)

    async def _watch(self) -> None:
        # Anything but a disconnect is a bridge that repeats the body's end for ever: believe it
        # once, or the loop never waits again. One that raises has nothing to say of the client.
        try:
            message = await self._receive()
        except Exception as error:  # noqa: BLE001  the server's or a middleware's own
            logger.debug("the server does not say when clients leave: %r", error)
            return
        if message["type"] == "http.disconnect":
            self._on_left()
