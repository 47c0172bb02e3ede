"""The generations of a runtime: the one that serves, and those that are on their way out."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from .._config import RuntimeConfig
from .._generation import Generation, Source
from .._run import RunPool
from .._shelf import Shelf
from ..exceptions import AgentRuntimeError, StartupError

logger = logging.getLogger(__name__)


class Generations:
    """Opens, switches and closes generations, each in a task of its own.

    Args:
        owner: The runtime that they belong to.
        source: What they are read from.
        tasks: The runtime's task group.
        runs: The invocations that use them.
        context: The context variables that everything but the runs will see; of this loop.

    Attributes:
        current: The one that new invocations get; None before the first is open.
        opening: What is, or was last, being opened.
    """

    def __init__(
        self,
        owner: object,
        source: Source,
        *,
        tasks: TaskGroup,
        runs: RunPool,
        context: contextvars.Context,
    ) -> None:
        self.current: Generation | None = None
        self.opening = "config"
        self._owner = owner
        self._source = source
        self._tasks = tasks
        self._runs = runs
        self._context = context
        self._open: list[Generation] = []
        self._number = 0
        self._shelf = Shelf()
        self._switching = anyio.Lock()

    async def open_first(self, config: RuntimeConfig) -> None:
        """Open the first one.

        Raises:
            AgentRuntimeError: it did not open; nothing stays open.
        """
        self.current = await self._open_in_time(config)

    async def switch(self) -> None:
        """Read the project again, open it beside the current one, and let it take over.

        Raises:
            AgentRuntimeError: it did not open; the current one stays.
        """
        async with self._switching:
            config = await anyio.to_thread.run_sync(self._source.read_config)
            generation = await self._open_in_time(config)
            old, self.current = self.current, generation
            logger.info("reloaded: generation %d", generation.number)
            if old is not None:
                self.spawn(partial(self._retire, old))

    async def finish_runs(self) -> None:
        """Let all runs end within their `drain_timeout`, then cancel them."""
        async with anyio.create_task_group() as tasks:
            for generation in self._open:
                grace_s = generation.config.server.drain_timeout
                tasks.start_soon(partial(self._runs.finish, generation, grace_s=grace_s))

    async def close(self) -> None:
        """Close what is open, newest first, and give up what is being opened."""
        for generation in reversed(self._open):
            if not generation.settled.is_set():
                generation.abandon()
            generation.retire()
            await generation.closed.wait()

    def spawn(self, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task of the runtime that does not see the caller's context variables."""

        def start() -> None:
            self._tasks.start_soon(function)

        self._context.copy().run(start)

    async def _open_in_time(self, config: RuntimeConfig) -> Generation:
        limit_s = config.server.startup_timeout
        try:
            with anyio.fail_after(limit_s):
                return await self._open_one(config)
        except TimeoutError as error:
            reason = f"not open after {limit_s:g} s (server.startup_timeout)"
            raise StartupError(self.opening, reason) from error

    async def _open_one(self, config: RuntimeConfig) -> Generation:
        self._number += 1
        generation = Generation(
            self._source, config, number=self._number, owner=self._owner, shelf=self._shelf
        )
        self._open.append(generation)
        self.spawn(generation.hold)
        try:
            await generation.settled.wait()
        finally:
            self.opening = generation.opening
            if not generation.settled.is_set() or generation.error is not None:
                generation.abandon()
                self._open.remove(generation)
        if generation.error is not None:
            raise as_start_error(generation.error, self.opening) from generation.error
        return generation

    async def _retire(self, generation: Generation) -> None:
        """Close one that gets no new invocations, once its runs have finished."""
        await self._runs.finish(generation, grace_s=generation.config.server.drain_timeout)
        generation.retire()
        await generation.closed.wait()
        if generation in self._open:
            self._open.remove(generation)


def as_start_error(error: BaseException, opening: str) -> AgentRuntimeError:
    """Return an error of ours for anything that a start can fail with."""
    if isinstance(error, AgentRuntimeError):
        return error
    return StartupError(opening, f"{type(error).__name__}: {error}")
