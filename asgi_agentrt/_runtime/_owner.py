"""The owner task: enters and leaves a context manager on behalf of everybody else."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from .._concurrency import absorb_native_cancellation, spawn_detached
from ..exceptions import LifecycleError

logger = logging.getLogger(__name__)


class Owner:
    """One task of one event loop that opens resources, waits, and closes them.

    Who starts and who stops may be any task: they set and await events only. A cancelled starter
    does not cancel the start.

    Args:
        open_resources: Returns the context manager to enter.
        on_closed: Called by the task at its very end, when `error` is known, before anybody who
            waits for that.
        context: The context variables that the task and all it starts will see.

    Attributes:
        settled: Set when it is open, or has failed to open.
        closed: Set when it is closed.
        error: Why it did not open, or crashed.
    """

    def __init__(
        self,
        open_resources: Callable[[], AbstractAsyncContextManager[None]],
        on_closed: Callable[[], None],
        *,
        context: contextvars.Context,
    ) -> None:
        self.settled = anyio.Event()
        self.closed = anyio.Event()
        self.error: BaseException | None = None
        self.is_open = False
        self._open_resources = open_resources
        self._on_closed = on_closed
        self._life = anyio.CancelScope()
        self._stop = anyio.Event()
        self._task = spawn_detached(self._own, context=context, name="asgi_agentrt")

    def stop(self) -> None:
        """Ask the task to close, or to give up opening; `closed` is set when it has."""
        self._stop.set()
        if not self.settled.is_set():
            self._life.cancel()

    @property
    def is_closing(self) -> bool:
        """Whether it was asked to close and has not yet."""
        return self._stop.is_set() and not self.closed.is_set()

    async def _own(self) -> None:
        """Open, wait, close, in one scope that is opened before the resources are.

        A shield around only the closing would not nest with the scopes that resources leave open.
        """
        was_open = False
        try:
            with self._life as life:
                try:
                    async with self._open_resources():
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
                self.error = LifecycleError("it was stopped while it started")
        except Exception as error:
            self.error = error
            if was_open:
                logger.exception("the runtime crashed")
        except anyio.get_cancelled_exc_class() as error:
            self.error = error
            raise
        finally:
            self.is_open = False
            self._on_closed()
            self.settled.set()
            self.closed.set()
