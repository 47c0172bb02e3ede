"""The runtime of one event loop: who started it, when it may be tried again, when it ends."""

from __future__ import annotations

import contextvars
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio

from .._config import RuntimeConfig
from .._runtime import OnRestart, Runtime, Status
from .._types import Scope
from ..exceptions import AgentRuntimeError, NotReadyError
from ._advice import how_to_wire
from ._exit import ExitHook
from ._signals import StopNotice

logger = logging.getLogger(__name__)

StartedBy: TypeAlias = Literal["lifespan", "composed", "wrapped", "lazy"]

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a user gave to `AgentRuntimeASGI`, and the context variables at that moment."""

    project: Path
    config: str | os.PathLike[str] | Mapping[str, Any] | RuntimeConfig
    app: object
    platform: bool
    on_restart: OnRestart | None
    context: contextvars.Context


class Instance:
    """What one `AgentRuntimeASGI` has in one event loop.

    Its starts are counted: several doors and mounts start one runtime, and the last to leave
    stops it. A request may start it as well; the first door that closes then stops it, or the
    end of the process does.

    Attributes:
        runtime: The one that runs, or ran last; None before the first start.
        started_by: The first door that asked for it; None before.
    """

    def __init__(self, options: Options) -> None:
        self.runtime: Runtime | None = None
        self.started_by: StartedBy | None = None
        self._options = options
        self._doors = 0
        self._has_ended = False
        self._failures = 0
        self._retry_at = 0.0
        self._noted: Runtime | None = None
        self._stop_notice: StopNotice | None = None
        self._exit_hook: ExitHook | None = None

    # ---- doors -------------------------------------------------------------------------------

    async def open(self, started_by: StartedBy, *, by_default: Literal["fail", "degrade"]) -> None:
        """Start, or join what others have started; `close` must follow, unless this raises.

        Args:
            started_by: The door.
            by_default: What a failure means under `startup_failure: auto`: `degrade` returns, and
                requests get 503 while the start is tried again.

        Raises:
            ConfigError, ProjectError, StartupError: it did not start, and that is to fail.
        """
        self._doors += 1
        self._has_ended = False
        runtime = self.runtime
        if runtime is None or runtime.has_ended:
            runtime = self._begin(started_by)
        self.started_by = started_by
        try:
            await runtime.wait_started()
        except AgentRuntimeError as error:
            wanted = runtime.startup_failure
            if (by_default if wanted == "auto" else wanted) == "fail":
                self._doors -= 1
                raise
            self._note_failure(runtime, error)
        except BaseException:
            await self.close()
            raise
        else:
            self._failures = 0

    async def close(self) -> None:
        """Leave; the last one stops the runtime. Bounded by the time-outs of the configuration."""
        self._doors -= 1
        if self._doors > 0:
            return
        self._doors = 0
        self._has_ended = True
        with anyio.CancelScope(shield=True):
            await self._shut_down()

    async def _shut_down(self) -> None:
        if self.runtime is not None:
            await self.runtime.shutdown()

    # ---- requests ----------------------------------------------------------------------------

    async def ready(self, scope: Scope) -> Runtime:
        """Return the open runtime for a request, starting it if nobody else has.

        Raises:
            NotReadyError: it is starting, failed to start, or was stopped.
        """
        runtime = self.runtime
        if runtime is not None and runtime.is_initialized:
            return runtime
        if self._has_ended:
            raise NotReadyError("the runtime was stopped")
        if runtime is not None and not runtime.has_ended:
            if self.started_by != "lazy":
                raise NotReadyError("the runtime is starting")
        else:
            if runtime is not None:
                self._note_end(runtime)
            wait_s = self._retry_at - time.monotonic()
            if wait_s > 0:
                raise NotReadyError("the runtime could not start; it will be tried again", wait_s)
            if self._doors == 0:
                self._warn_once(scope)
            runtime = self._begin("lazy")
        try:
            await runtime.wait_started()
        except AgentRuntimeError as error:
            self._note_failure(runtime, error)
            wait_s = max(1.0, self._retry_at - time.monotonic())
            raise NotReadyError(
                "the runtime could not start; it will be tried again", wait_s
            ) from error
        self._failures = 0
        return runtime

    @property
    def status(self) -> Status:
        """How it is, in one word."""
        runtime = self.runtime
        if runtime is None:
            return "draining" if self._has_ended else "starting"
        return "draining" if self._has_ended and not runtime.is_initialized else runtime.status

    @property
    def uptime_s(self) -> float:
        """Seconds since the running start began; 0 when nothing runs."""
        return 0.0 if self.runtime is None or self.runtime.has_ended else self.runtime.uptime_s

    # ---- starting ----------------------------------------------------------------------------

    def _begin(self, started_by: StartedBy) -> Runtime:
        options = self._options
        self.runtime = runtime = Runtime(
            options.project,
            config=options.config,
            app=options.app,
            platform=options.platform,
            on_restart=options.on_restart,
            context=options.context,
            on_open=self._arm,
            on_close=self._disarm,
        )
        if started_by == "lazy" and self._doors == 0:
            self.started_by = "lazy"
        runtime.begin()
        return runtime

    def _note_end(self, runtime: Runtime) -> None:
        """Take note of a start that failed after its request had left."""
        if runtime.start_failure is not None:
            self._note_failure(runtime, runtime.start_failure)

    def _note_failure(self, runtime: Runtime, error: AgentRuntimeError) -> None:
        if self._noted is runtime:
            return
        self._noted = runtime
        delay_s = min(_FIRST_RETRY_S * 2**self._failures, _LONGEST_RETRY_S)
        self._failures += 1
        self._retry_at = time.monotonic() + delay_s
        logger.error("the agent runtime of %s could not start: %s", self._options.project, error)

    def _warn_once(self, scope: Scope) -> None:
        if self._noted is None and self._failures == 0 and self.runtime is None:
            logger.warning(
                "the agent runtime of %s is started by its first request, since nobody passed it"
                " a lifespan: %s",
                self._options.project,
                how_to_wire(scope),
            )

    # ---- the end of the process --------------------------------------------------------------

    def _arm(self) -> None:
        runtime = self.runtime
        if runtime is None:
            return
        is_unattended = self._doors == 0
        if runtime.config.server.signals == "auto":
            self._stop_notice = StopNotice(
                notify=runtime.drain, close=runtime.shutdown if is_unattended else None
            )
        if is_unattended:
            self._exit_hook = ExitHook(runtime.shutdown)

    def _disarm(self) -> None:
        if self._stop_notice is not None:
            self._stop_notice.remove()
            self._stop_notice = None
        if self._exit_hook is not None:
            self._exit_hook.remove()
            self._exit_hook = None
