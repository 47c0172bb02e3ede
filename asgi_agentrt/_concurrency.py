"""What anyio does not have: tasks that belong to nobody's request, and a cheap wake-up."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
from anyio.lowlevel import current_token

logger = logging.getLogger(__name__)


def on_asyncio() -> bool:
    """Whether the running event loop is asyncio's (uvloop's included)."""
    return isinstance(current_token().native_token, asyncio.AbstractEventLoop)


def context_for_this_loop(context: contextvars.Context) -> contextvars.Context:
    """Return a copy of a context that may come from another event loop than the running one.

    In it, anyio finds the running loop even where no task runs, as in a callback.
    """
    context = context.copy()
    if (sniffio := sys.modules.get("sniffio")) is not None:
        library = "asyncio" if on_asyncio() else "trio"
        context.run(sniffio.current_async_library_cvar.set, library)
    return context


def spawn_detached(
    function: Callable[[], Coroutine[Any, Any, None]], *, context: contextvars.Context, name: str
) -> object:
    """Start a task that outlives the calling one, in `context` instead of the caller's.

    It runs until it ends by itself or the event loop goes down, when it is cancelled.

    Returns:
        The task; keep a reference, asyncio keeps none.
    """
    if on_asyncio():
        return asyncio.get_running_loop().create_task(function(), name=name, context=context)
    trio = sys.modules["trio"]  # its event loop runs, so it is loaded
    return trio.lowlevel.spawn_system_task(function, name=name, context=context)


def absorb_native_cancellation() -> None:
    """Forget `Task.cancel()` calls on this task, which is about to clean up at its own pace.

    With requests pending, anyio's scopes below refuse to swallow their own cancellations.
    """
    if on_asyncio() and (task := asyncio.current_task()) is not None:
        while task.cancelling():
            task.uncancel()


async def run_bounded(
    clean_up: Callable[[], Awaitable[object]], *, seconds: float, what: str
) -> None:
    """Run a clean-up step to its end, but no longer than `seconds`; log what goes wrong."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + seconds) as scope:
        try:
            await clean_up()
        except Exception:
            logger.exception("%s failed", what)
        except BaseException as error:
            # A library that cancels the task it is closed in is no reason to skip the rest.
            if isinstance(error, KeyboardInterrupt) or scope.cancel_called:
                raise
            absorb_native_cancellation()
            logger.warning("%s was cut short by %s", what, type(error).__name__)
    if scope.cancelled_caught:
        logger.warning("%s took more than %g s and was given up", what, seconds)


class WakeUp:
    """A flag that one task waits for and anyone sets; waiting takes the flag down again.

    On asyncio it is a bare future, which is cheaper than an `anyio.Event` for each wait: a stream
    waits once for each event that it sends.
    """

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | anyio.Event | None = None

    def set(self) -> None:
        """Wake the waiting task, or let the next `wait` return at once."""
        self._is_set = True
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if isinstance(waiter, anyio.Event):
            waiter.set()
        elif not waiter.done():
            waiter.set_result(None)

    async def wait(self) -> None:
        """Return once the flag was set; a checkpoint only if it has to wait."""
        if not self._is_set:
            if on_asyncio():
                self._waiter = future = asyncio.get_running_loop().create_future()
                await future
            else:
                self._waiter = event = anyio.Event()
                await event.wait()
        self._is_set = False
