"""A runtime: one project in one event loop, from its start to its end."""

from __future__ import annotations

import contextvars
import logging
import os
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from anyio.lowlevel import current_token

from .._concurrency import detached_context
from .._config import RuntimeConfig
from .._generation import Generation, Source, current_scope
from .._platform import Action, Reporter, Snapshot
from .._platform import Status as PlatformStatus
from .._run import Invocation, Run, RunPool, StreamClock
from .._session import Sessions
from .._slots import Slots
from ..exceptions import AgentRuntimeError, LifecycleError, NotReadyError, StartupError
from ._owner import Owner

logger = logging.getLogger(__name__)

Status = Literal["starting", "healthy", "degraded", "unhealthy", "draining"]
OnRestart = Callable[[], Awaitable[None] | None]

_PLATFORM_STATUS: dict[Status, PlatformStatus] = {
    "starting": "starting",
    "healthy": "running",
    "degraded": "running",
    "unhealthy": "failed",
    "draining": "draining",
}

_alive: weakref.WeakKeyDictionary[Runtime, object] = weakref.WeakKeyDictionary()


def alive_runtimes() -> list[Runtime]:
    """Return the runtimes that are starting or open: this event loop's, or all where none runs."""
    try:
        here: object = current_token().native_token
    except anyio.NoEventLoopError:
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
        on_close: Called by the owner task once it is closed, or has failed to open.
    """

    def __init__(
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
        self._source = Source(Path(project).absolute(), config, app)
        self._with_platform = platform
        self._on_restart = on_restart
        self._context = contextvars.copy_context() if context is None else context
        self._on_open = on_open
        self._on_close = on_close
        self._owner: Owner | None = None
        self._config: RuntimeConfig | None = None
        self._generation: Generation | None = None
        self._open: list[Generation] = []
        self._number = 0
        self._opening = "config"
        self._reporter: Reporter | None = None
        self._drained: anyio.Event | None = None
        self._started_at = time.monotonic()

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
        if self._generation is None:
            raise LifecycleError("the runtime is not initialized")
        return self._generation

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
        source = self._source
        self._source = Source(
            source.project if project_path is None else Path(project_path).absolute(),
            source.config if config_path is None else config_path,
            source.app,
        )
        self.begin()
        await self.wait_started()

    def begin(self) -> None:
        """Start opening; `wait_started` waits for it.

        Raises:
            LifecycleError: it was begun before and not shut down.
        """
        if self._owner is not None and not self._owner.closed.is_set():
            raise LifecycleError("the runtime is initialized already")
        self._drained = None
        self._opening = "config"
        self._started_at = time.monotonic()
        _alive[self] = current_token().native_token
        self._owner = Owner(self._open_resources, context=self._context)

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
        if isinstance(error, TimeoutError) and self._config is not None:
            limit = self._config.server.startup_timeout
            return StartupError(
                self._opening, f"not open after {limit:g} s (server.startup_timeout)"
            )
        if isinstance(error, AgentRuntimeError):
            return error
        return StartupError(self._opening, f"{type(error).__name__}: {error}")

    async def shutdown(self) -> None:
        """Let running invocations finish for `drain_timeout`, then close everything.

        Fine when it is not initialized.
        """
        if self._owner is not None:
            self._owner.stop()
            await self._owner.closed.wait()

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
    async def _open_resources(self, life: anyio.CancelScope) -> AsyncIterator[None]:
        """Hold everything open; entered and left by the owner task."""
        error: Exception | None = None
        try:
            self._config = config = await anyio.to_thread.run_sync(self._source.read_config)
            server = config.server
            life.deadline = anyio.current_time() + server.startup_timeout
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._reloading = anyio.Lock()
                self.runs = RunPool(tasks, config)
                self.clock = StreamClock(shortest_s=min(server.ping_interval, server.send_timeout))
                self._reporter = self._start_reporter(config)
                try:
                    self._generation = await self._open_generation(config)
                except AgentRuntimeError as failure:
                    error = failure  # raised below: here the group would wrap it
                    await self._report_end("failed")
                else:
                    self._spawn(self.clock.run)
                    if self._on_open is not None:
                        self._on_open()
                    yield
                    await self._close()
                tasks.cancel_scope.cancel()
            if error is not None:
                raise error
        finally:
            _alive.pop(self, None)
            self._generation = None
            if self._on_close is not None:
                self._on_close()

    async def _close(self) -> None:
        self.drain()
        if self._drained is not None:
            await self._drained.wait()
        # Whatever is open, newest first: a reload may be closing the one before.
        for generation in reversed(self._open):
            generation.retire()
            await generation.closed.wait()
        await self._report_end("stopping")

    def drain(self) -> None:
        """Accept no more invocations; the running ones get `drain_timeout`, then are cancelled."""
        if self._drained is None and self._generation is not None:
            self._drained = anyio.Event()
            self._spawn(partial(self._drain, self._drained))

    async def _drain(self, drained: anyio.Event) -> None:
        if self._reporter is not None:
            self._reporter.beat_soon()
        try:
            async with anyio.create_task_group() as tasks:
                for generation in self._open:
                    grace_s = generation.config.server.drain_timeout
                    tasks.start_soon(partial(self.runs.finish, generation, grace_s=grace_s))
        finally:
            drained.set()

    # ---- generations -------------------------------------------------------------------------

    async def reload(self) -> None:
        """Read the project again, open it beside the running one, and switch over.

        Running invocations finish on what they began with, for `drain_timeout` at most.

        Raises:
            LifecycleError: the runtime is not open.
            ConfigError, ProjectError, StartupError: the new one did not open; the old one serves on.
        """
        if not self.is_initialized or self._drained is not None:
            raise LifecycleError("only an open runtime can be reloaded")
        async with self._reloading:
            config = await anyio.to_thread.run_sync(self._source.read_config)
            try:
                with anyio.fail_after(config.server.startup_timeout):
                    generation = await self._open_generation(config)
            except TimeoutError as error:
                raise self._start_error(error) from error
            old, self._generation, self._config = self._generation, generation, config
            logger.info("reloaded: generation %d", generation.number)
            if old is not None:
                self._spawn(partial(self._retire, old))

    async def _open_generation(self, config: RuntimeConfig) -> Generation:
        """Open a generation in a task of its own, which will close it too."""
        self._number += 1
        generation = Generation(self._source, config, self._number, self)
        self._open.append(generation)
        self._spawn(generation.hold)
        try:
            await generation.settled.wait()
        finally:
            self._opening = generation.opening
            if not generation.settled.is_set() or generation.error is not None:
                generation.abandon()
                self._open.remove(generation)
        if generation.error is not None:
            raise self._start_error(generation.error) from generation.error
        return generation

    async def _retire(self, generation: Generation) -> None:
        """Close a generation that gets no new invocations, once its runs have finished."""
        await self.runs.finish(generation, grace_s=generation.config.server.drain_timeout)
        generation.retire()
        await generation.closed.wait()
        if generation in self._open:
            self._open.remove(generation)

    def _spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        """Start a task of the runtime that does not see the caller's context variables."""
        detached_context(self._context).run(self._tasks.start_soon, function)

    # ---- invocations -------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> Run:
        """Start a run; it sees the caller's context variables.

        Raises:
            NotReadyError: starting, failed, draining or closed.
            OverloadedError: `max_concurrency` and `max_queue` are used up.
            SessionBusyError: the session runs another call and is set to reject a second.
        """
        if self._drained is not None:
            raise NotReadyError("the runtime is shutting down")
        if self._generation is None:
            raise NotReadyError("the runtime is not open")
        return self.runs.start(invocation, self._generation)

    # ---- what the platform and /health are told ----------------------------------------------

    @property
    def status(self) -> Status:
        """How it is, in one word."""
        owner = self._owner
        if owner is not None and owner.settled.is_set() and owner.error is not None:
            return "unhealthy"
        if self._drained is not None or (owner is not None and owner.closed.is_set()):
            return "draining"
        if self._generation is None:
            return "starting"
        return "degraded" if self._generation.is_degraded else "healthy"

    @property
    def uptime_s(self) -> float:
        """Seconds since it began to start."""
        return time.monotonic() - self._started_at

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
        return self._generation

    def _start_reporter(self, config: RuntimeConfig) -> Reporter | None:
        if not self._with_platform or config.platform.endpoint is None:
            return None
        reporter = Reporter(config.platform, snapshot=self._snapshot, on_action=self._act)
        self._spawn(reporter.run)
        return reporter

    async def _report_end(self, status: Literal["stopping", "failed"]) -> None:
        if self._reporter is not None:
            await self._reporter.last_beat(status)

    def _snapshot(self) -> Snapshot:
        status = _PLATFORM_STATUS[self.status]
        activity = self.runs.activity
        return Snapshot(status, activity.active_sessions, activity.total_requests)

    async def _act(self, action: Action) -> None:
        """Carry out what the platform asks for; a guest never exits its host."""
        if action == "restart" and self._on_restart is not None:
            outcome = self._on_restart()
            if outcome is not None:
                await outcome
        else:
            await self.reload()
