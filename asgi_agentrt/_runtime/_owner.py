"""The owner task: enters and leaves a context manager on behalf of everybody else."""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from .._concurrency import absorb_native_cancellation, spawn_detached

logger = logging.getLogger(__name__)


class Owner:
    """One task of one event loop that opens resources, waits, and closes them.

    Who starts and who stops may be any task: they set and await events only. A cancelled starter
    does not cancel the start.

    Args:
        open_resources: Given the scope that everything runs in, returns the context manager to
            enter. It may move the scope's deadline; while it waits to be left there is none.
        context: The context variables that the task and all it starts will see.
    """

    def __init__(
        self,
        open_resources: Callable[[anyio.CancelScope], AbstractAsyncContextManager[None]],
        *,
        context: contextvars.Context,
    ) -> None:
        self.settled = anyio.Event()
        self.closed = anyio.Event()
        self.error: BaseException | None = None
        self.is_open = False
        self._open_resources = open_resources
        self._stop = anyio.Event()
        self._task = spawn_detached(self._own, context=context, name="asgi_agentrt")

    def stop(self) -> None:
        """Ask the task to close; `closed` is set when it has."""
        self._stop.set()

    async def _own(self) -> None:
        """Open, wait, close, in one scope that is opened before the resources are.

        A deadline around only the opening, or a shield around only the closing, would not nest
        with the scopes that resources leave open.
        """
        was_open = False
        try:
            with anyio.CancelScope() as life:
                try:
                    async with self._open_resources(life):
                        life.deadline = math.inf
                        self.is_open = was_open = True
                        self.settled.set()
                        try:
                            await self._stop.wait()
                        except anyio.get_cancelled_exc_class():
                            absorb_native_cancellation()  # the event loop goes down
                        self.is_open = False
                        life.shield = True
                finally:
                    life.shield = True
            if life.cancelled_caught:
                self.error = TimeoutError("it took too long")
        except Exception as error:
            self.error = error
            if was_open:
                logger.exception("the runtime crashed")
        except anyio.get_cancelled_exc_class() as error:
            self.error = error
            raise
        finally:
            self.is_open = False
            self.settled.set()
            self.closed.set()
