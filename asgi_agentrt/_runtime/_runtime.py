"""A runtime: one project in one event loop, from its start to its end."""

from __future__ import annotations

import contextvars
import os
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio
import anyio.to_thread
from anyio.lowlevel import current_token

from .._concurrency import context_for_this_loop
from .._config import RuntimeConfig
from .._generation import Generation, Source, current_scope
from .._run import Invocation, Run, RunPool, StreamClock
from .._session import Sessions
from .._slots import Slots
from ..exceptions import AgentRuntimeError, LifecycleError, NotReadyError
from ._generations import Generations, as_start_error
from ._owner import Owner
from ._reporting import OnRestart, Status, make_reporter

if TYPE_CHECKING:
    from .._platform import Reporter

_alive: weakref.WeakKeyDictionary[Runtime, object] = weakref.WeakKeyDictionary()


def alive_runtimes() -> list[Runtime]:
    """Return the runtimes that are starting or open: this event loop's, or all where none runs."""
    try:
        here: object = current_token().native_token
    except RuntimeError:  # no event loop runs here; older releases of anyio let sniffio say so
        return list(_alive)
    return [runtime for runtime, loop in list(_alive.items()) if loop is here]


class Runtime:
    """One project's resources in the running event loop; also an async context manager.

    Args:
        project: The project's folder; relative to the working directory.
        config: A file name relative to the project, a mapping, or a `RuntimeConfig`.
        app: An `AgentApp` class or instance, or an async generator function, instead of `app.py`.
        platform: Whether to report to the platform that the configuration names.
        on_restart: Called when the platform asks for a restart; None makes it a reload.
        context: The context variables that everything but the runs will see; None means those
            of the caller.
        on_open: Called by the owner task once it is open.
        on_close: Called by the owner task once it is closed, or has failed to open; `start_failure`
            says why.
    """

    def __init__(  # noqa: PLR0913  each is an option of its own
        self,
        project: str | os.PathLike[str] = ".",
        *,
        config: str | os.PathLike[str] | Mapping[str, Any] | RuntimeConfig = "agentapp.yaml",
        app: object = None,
        platform: bool = True,
        on_restart: OnRestart | None = None,
        context: contextvars.Context | None = None,
        on_open: Callable[[], None] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._source = Source(_absolute(project), config, app)
        self._with_platform = platform
        self._on_restart = on_restart
        self._context = contextvars.copy_context() if context is None else context
        self._on_open = on_open
        self._on_close = on_close
        self._owner: Owner | None = None
        self._config: RuntimeConfig | None = None
        self._generations: Generations | None = None
        self._reporter: Reporter | None = None
        self._drained: anyio.Event | None = None
        self._started_at = time.monotonic()
        self.runs: RunPool
        self.clock: StreamClock

    # ---- what the app's code uses ------------------------------------------------------------

    @property
    def is_initialized(self) -> bool:
        """Whether it is open."""
        return self._owner is not None and self._owner.is_open

    @property
    def models(self) -> Slots:
        """The model slots of agentapp.yaml."""
        return self._generation_of_caller().models

    @property
    def tools(self) -> Any:
        """One AgentScope Toolkit with all MCP servers' tools; inside a run, that run's own."""
        scope = current_scope.get()
        if scope is not None and scope.generation.owner is self:
            return scope.tools
        return self._generation_of_caller().toolbox.toolkit

    @property
    def session(self) -> Sessions:
        """The session store."""
        return self._generation_of_caller().sessions

    @property
    def config(self) -> RuntimeConfig:
        """The configuration that the running generation was opened from."""
        return self._generation_of_caller().config

    @property
    def app(self) -> Any:
        """The user's app."""
        return self._generation_of_caller().app.app

    def _generation_of_caller(self) -> Generation:
        """A run stays with the generation that it began on, whatever is reloaded meanwhile."""
        scope = current_scope.get()
        if scope is not None and scope.generation.owner is self:
            return scope.generation
        generation = self.generation
        if generation is None:
            raise LifecycleError("the runtime is not initialized")
        return generation

    # ---- starting and stopping ---------------------------------------------------------------

    async def initialize(
        self,
        config_path: str | os.PathLike[str] | None = None,
        project_path: str | os.PathLike[str] | None = None,
    ) -> None:
        """Open everything that the configuration names.

        Args:
            config_path: Instead of the `config` given to the class.
            project_path: Instead of the `project` given to the class.

        Raises:
            LifecycleError: it was initialized before and not shut down.
            ConfigError, ProjectError, StartupError: it did not start; nothing stays open.
        """
        if project_path is not None:
            self._source = replace(self._source, project=_absolute(project_path))
        if config_path is not None:
            self._source = replace(self._source, config=config_path)
        self.begin()
        try:
            await self.wait_started()
        except BaseException:
            # Nobody else knows of a start whose caller was cancelled.
            with anyio.CancelScope(shield=True):
                await self.shutdown()
            raise

    def begin(self) -> None:
        """Start opening; `wait_started` waits for it.

        Raises:
            LifecycleError: it was begun before and not shut down.
        """
        if self._owner is not None and not self._owner.closed.is_set():
            raise LifecycleError("the runtime is initialized already")
        # Nothing of a life before: a start that fails must not be told about with its words.
        self._config = self._generations = self._reporter = self._drained = None
        self._started_at = time.monotonic()
        _alive[self] = current_token().native_token
        self._here = context_for_this_loop(self._context)
        self._owner = Owner(self._open_resources, self._closed, context=self._here.copy())

    async def wait_started(self) -> None:
        """Wait until it is open.

        Raises:
            ConfigError, ProjectError, StartupError: it did not start.
        """
        owner = self._owner
        if owner is None:
            raise LifecycleError("the runtime is not initialized")
        await owner.settled.wait()
        if owner.error is not None:
            raise self._start_error(owner.error) from owner.error

    def _start_error(self, error: BaseException) -> AgentRuntimeError:
        opening = "config" if self._generations is None else self._generations.opening
        return as_start_error(error, opening)

    async def shutdown(self) -> None:
        """Let running invocations finish for `drain_timeout`, then close everything.

        Fine when it is not initialized; a start that is under way is given up.
        """
        if self._owner is not None:
            self._owner.stop()
            await self.wait_closed()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.shutdown()

    @asynccontextmanager
    async def _open_resources(self) -> AsyncGenerator[None]:
        """Hold everything open; entered and left by the owner task."""
        error: Exception | None = None
        try:
            self._config = config = await anyio.to_thread.run_sync(self._source.read_config)
            server = config.server
            async with anyio.create_task_group() as tasks:
                self.runs = RunPool(tasks, config)
                self.clock = StreamClock(shortest_s=min(server.ping_interval, server.send_timeout))
                self._generations = generations = Generations(
                    self, self._source, tasks=tasks, runs=self.runs, context=self._here
                )
                if self._with_platform:
                    self._reporter = make_reporter(config.platform, self, self._on_restart)
                if self._reporter is not None:
                    generations.spawn(self._reporter.run)
                try:
                    await generations.open_first(config)
                except AgentRuntimeError as failure:
                    error = failure  # raised below: here the group would wrap it
                    await self._report_end("failed")
                else:
                    generations.spawn(self.clock.run)
                    generations.spawn(self.runs.keep_turns)
                    if self._reporter is not None:
                        self._reporter.beat_soon()
                    if self._on_open is not None:
                        self._on_open()
                    yield
                    await self._close(generations)
                tasks.cancel_scope.cancel()
            if error is not None:
                raise error
        finally:
            if self._generations is not None:
                self._generations.current = None

    def _closed(self) -> None:
        _alive.pop(self, None)
        if self._on_close is not None:
            self._on_close()

    async def _close(self, generations: Generations) -> None:
        self.drain()
        if self._drained is not None:
            await self._drained.wait()
        await generations.close()
        await self._report_end("stopping")

    def drain(self) -> None:
        """Accept no more invocations; the running ones get `drain_timeout`, then are cancelled."""
        if self._drained is None and self._generations is not None and self.generation is not None:
            self._drained = anyio.Event()
            self._generations.spawn(partial(self._drain, self._generations, self._drained))

    async def _drain(self, generations: Generations, drained: anyio.Event) -> None:
        if self._reporter is not None:
            self._reporter.beat_soon()
        try:
            await generations.finish_runs()
        finally:
            drained.set()

    async def reload(self) -> None:
        """Read the project again, open it beside the running one, and switch over.

        Running invocations finish on what they began with, for `drain_timeout` at most.

        Raises:
            LifecycleError: the runtime is not open.
            ConfigError, ProjectError, StartupError: the new one did not open; the old one stays.
        """
        if not self.is_initialized or self._drained is not None or self._generations is None:
            raise LifecycleError("only an open runtime can be reloaded")
        await self._generations.switch()

    # ---- invocations -------------------------------------------------------------------------

    async def invoke(self, invocation: Invocation) -> Run:
        """Start a run; it sees the caller's context variables.

        Raises:
            NotReadyError: starting, failed, draining or closed.
            OverloadedError: `max_concurrency` and `max_queue` are used up.
            SessionBusyError: the session runs another call and is set to reject a second.
        """
        if self._drained is not None:
            raise NotReadyError("the runtime is shutting down")
        generation = self.generation
        if generation is None:
            raise NotReadyError("the runtime is not open")
        return await self.runs.start(invocation, generation)

    # ---- what the platform and /health are told ----------------------------------------------

    @property
    def status(self) -> Status:
        """How it is, in one word."""
        owner = self._owner
        if owner is not None and owner.settled.is_set() and owner.error is not None:
            return "unhealthy"
        if self._drained is not None or (owner is not None and owner.closed.is_set()):
            return "draining"
        generation = self.generation
        if generation is None:
            return "starting"
        return "degraded" if generation.is_degraded else "healthy"

    @property
    def uptime_s(self) -> float:
        """Seconds since it began to start."""
        return time.monotonic() - self._started_at

    @property
    def is_closing(self) -> bool:
        """Whether it was told to close and has not yet."""
        return self._owner is not None and self._owner.is_closing

    async def wait_closed(self) -> None:
        """Wait until it is closed; at once if it was never begun."""
        if self._owner is not None:
            await self._owner.closed.wait()

    @property
    def has_ended(self) -> bool:
        """Whether it was begun and is closed, or failed to open."""
        return self._owner is not None and self._owner.closed.is_set()

    @property
    def start_failure(self) -> AgentRuntimeError | None:
        """Why it did not open, or crashed; None while nothing failed."""
        if self._owner is None or self._owner.error is None:
            return None
        return self._start_error(self._owner.error)

    @property
    def startup_failure(self) -> Literal["auto", "fail", "degrade"]:
        """The configuration's word for what a failed start means; `auto` if it was not read."""
        return "auto" if self._config is None else self._config.server.startup_failure

    @property
    def generation(self) -> Generation | None:
        """What serves new invocations; None before the start and after the end."""
        return None if self._generations is None else self._generations.current

    async def _report_end(self, status: Literal["stopping", "failed"]) -> None:
        if self._reporter is not None:
            await self._reporter.last_beat(status)


def _absolute(folder: str | os.PathLike[str]) -> Path:
    return Path(folder).absolute()
