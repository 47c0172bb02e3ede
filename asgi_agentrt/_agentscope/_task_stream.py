"""Run an agent in a task of its own, and read what it says; who stops reading stops the agent.

AgentScope swallows `CancelledError`: in the reader's own task a cancelled agent would go on, or end
as if nothing had been asked. In its own task it can be cancelled once, given time to tidy up its
memory, and cancelled again until it has really ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import anyio

logger = logging.getLogger(__name__)

_AHEAD = 32  # items that an agent may be ahead of its reader
_PATIENCE_S = 0.5  # seconds from one cancellation to the next
_ATTEMPTS = 20
_TIDYING_S = 2.0


class Feed:
    """What an agent has said and its reader has not read yet."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self.abandoned = False

    async def put(self, item: Any) -> None:
        """Hand an item to the reader; waits while the reader is far behind."""
        while len(self._items) >= _AHEAD and not self.abandoned:
            self._room.clear()
            await self._room.wait()
        if not self.abandoned:
            self._items.append(item)
            self._news.set()

    def end(self, _task: object = None) -> None:
        """Say that nothing more will come."""
        self._ended = True
        self._news.set()

    def abandon(self) -> None:
        """Say that nobody reads any more: what is put from now on is dropped."""
        self.abandoned = True
        self._items.clear()
        self._room.set()

    async def read(self) -> AsyncGenerator[Any, None]:
        """Yield the items until the end."""
        while True:
            while self._items:
                self._room.set()
                yield self._items.popleft()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()


async def stream_task(
    work: Callable[[Feed], Coroutine[Any, Any, None]],
    tidy: Callable[[], Awaitable[None]] | None = None,
) -> AsyncGenerator[Any, None]:
    """Run `work` in a task and yield what it puts into its feed, then raise what it raised.

    Args:
        work: Runs the agent; is cancelled, again and again, when the reader leaves.
        tidy: Run when it has ended, in whatever way, for `_TIDYING_S` seconds at most.
    """
    feed = Feed()
    task = asyncio.create_task(work(feed))
    task.add_done_callback(feed.end)
    try:
        async for item in feed.read():
            yield item
        if not task.cancelled():
            task.result()
    finally:
        if not task.done():
            feed.abandon()
            with anyio.CancelScope(shield=True):
                await _stop(task)
        elif not task.cancelled():
            task.exception()  # retrieved, or asyncio complains of it when the task goes
        if tidy is not None:
            with anyio.move_on_after(_TIDYING_S, shield=True):
                await tidy()


async def _stop(task: asyncio.Task[None]) -> None:
    for _ in range(_ATTEMPTS):
        task.cancel()
        await asyncio.wait({task}, timeout=_PATIENCE_S)
        if task.done():
            if not task.cancelled() and (error := task.exception()):
                logger.debug("an agent failed while it was stopped: %s", type(error).__name__)
            return
    logger.warning("an agent goes on, although it was cancelled %d times", _ATTEMPTS)
