"""Close a runtime at the end of the process, when no lifespan and no signal did."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .._concurrency import on_asyncio

if TYPE_CHECKING:
    from multiprocessing.util import Finalize

# What the end of the process may wait for us; the runtime's own time-outs are usually shorter.
_LIMIT_S = 60.0


class ExitHook:
    """Runs `close` when the interpreter, or a worker process of a server, ends.

    Servers that end an event loop by cancelling its tasks need no hook. The others leave the loop
    stopped but open, or running in another thread. Workers that leave through `os._exit` run
    nothing of the interpreter's end, but run multiprocessing's finalizers.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._close = close
        self._loop = asyncio.get_running_loop() if on_asyncio() else None
        self._pid = os.getpid()
        self._finalizer: Finalize | None = None
        if self._loop is not None:  # trio closes what runs in it before its run() returns
            from multiprocessing.util import Finalize  # noqa: PLC0415  only lazy starts need it

            _watch_for_the_end()
            _hooks.add(self)
            self._finalizer = Finalize(None, self.run, exitpriority=100)

    def remove(self) -> None:
        """Forget it; the runtime is closed."""
        _hooks.discard(self)
        if self._finalizer is not None:
            self._finalizer.cancel()

    def run(self) -> None:
        """Close, in whatever state the event loop was left."""
        loop = self._loop
        if loop is None or loop.is_closed() or os.getpid() != self._pid:
            return  # in a forked child, what it would close is the parent's

        async def close() -> None:
            async with asyncio.timeout(_LIMIT_S):
                await self._close()
            # What was called back for its end: anyio lets go of its idle threads there.
            await asyncio.sleep(0)

        # Whatever fails here, the process ends now, and nobody is left to hear of it.
        with suppress(Exception):
            if not loop.is_running():
                loop.run_until_complete(close())
            elif not _runs_here(loop):
                asyncio.run_coroutine_threadsafe(close(), loop).result(_LIMIT_S)


_hooks: set[ExitHook] = set()
_is_watching = False


def _watch_for_the_end() -> None:
    global _is_watching  # noqa: PLW0603  once for each process
    if not _is_watching:
        _is_watching = True
        # The interpreter waits for threads before it calls what atexit knows, and anyio's idle
        # threads wait for the end of the task that we are about to end: what concurrent.futures
        # registers with comes first, and has no public name.
        register: Callable[..., object] = getattr(threading, "_register_atexit", atexit.register)
        register(_run_hooks)


def _run_hooks() -> None:
    for hook in list(_hooks):
        hook.run()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
