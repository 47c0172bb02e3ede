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
from ._access import Identity
from ._advice import how_to_wire
from ._exit import ExitHook
from ._signals import StopNotice

logger = logging.getLogger(__name__)

StartedBy: TypeAlias = Literal["lifespan", "composed", "wrapped", "lazy"]

_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True, repr=False)
class Options:
    """What a user gave to `AgentRuntimeASGI`, and the context variables at that moment.

    It has no `repr`: a configuration given as a mapping may hold secrets.
    """

    project: Path
    config: str | os.PathLike[str] | Mapping[str, Any] | RuntimeConfig
    app: object
    platform: bool
    on_restart: OnRestart | None
    identity: Identity | None
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
        self._opened: Runtime | None = None
        self._is_begun_by_request = False
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
        if self._doors == 1:
            self.started_by = started_by
        try:
            runtime = await self._begin_or_join()
            try:
                await runtime.wait_started()
            except AgentRuntimeError as error:
                wanted = runtime.startup_failure
                if (by_default if wanted == "auto" else wanted) == "fail":
                    raise
                if not self._is_begun_by_request:
                    self._note_failure(error)
        except AgentRuntimeError:
            self._doors -= 1
            raise
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave; the last one stops the runtime. Bounded by the time-outs of the configuration."""
        self._doors -= 1
        if self._doors > 0:
            return
        self._doors = 0
        self._has_ended = True
        with anyio.CancelScope(shield=True):
            await self._shut_down()

    async def _begin_or_join(self) -> Runtime:
        while (runtime := self.runtime) is not None and runtime.is_closing:
            await runtime.wait_closed()  # the last life of the same object
        if runtime is None or runtime.has_ended:
            runtime = self._begin(by_request=False)
        return runtime

    async def _shut_down(self) -> None:
        if self.runtime is not None:
            await self.runtime.shutdown()

    async def _end(self) -> None:
        """Close at the end of the process, whoever has it open; no request starts it again."""
        self._has_ended = True
        await self._shut_down()

    @property
    def identity(self) -> Identity | None:
        """Who says whose a request is; None without anybody."""
        return self._options.identity

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
            wait_s = self._retry_at - time.monotonic()
            if wait_s > 0:
                raise NotReadyError("the runtime could not start; it will be tried again", wait_s)
            if self._doors == 0:
                self._warn_once(scope)
                self.started_by = "lazy"
            runtime = self._begin(by_request=True)
        try:
            await runtime.wait_started()
        except AgentRuntimeError as error:
            wait_s = max(1.0, self._retry_at - time.monotonic())
            raise NotReadyError(
                "the runtime could not start; it will be tried again", wait_s
            ) from error
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

    def _begin(self, *, by_request: bool) -> Runtime:
        self._is_begun_by_request = by_request
        options = self._options
        self.runtime = runtime = Runtime(
            options.project,
            config=options.config,
            app=options.app,
            platform=options.platform,
            on_restart=options.on_restart,
            context=options.context,
            on_open=self._arm,
            on_close=self._closed,
        )
        runtime.begin()
        return runtime

    def _note_failure(self, error: AgentRuntimeError) -> None:
        """Log why a start failed, unless it was raised to somebody who will."""
        self._back_off()
        logger.error("the agent runtime of %s could not start: %s", self._options.project, error)

    def _back_off(self) -> None:
        delay_s = min(_FIRST_RETRY_S * 2**self._failures, _LONGEST_RETRY_S)
        self._failures += 1
        self._retry_at = time.monotonic() + delay_s

    def _warn_once(self, scope: Scope) -> None:
        if self.runtime is None:
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
        self._opened = runtime
        self._failures = 0
        is_unattended = self._doors == 0
        if runtime.config.server.signals == "auto":
            self._stop_notice = StopNotice(
                notify=runtime.drain, close=self._end if is_unattended else None
            )
        if is_unattended:
            self._exit_hook = ExitHook(self._end)

    def _closed(self) -> None:
        self._disarm()
        runtime = self.runtime
        failure = None if runtime is None else runtime.start_failure
        if failure is None:
            return
        if runtime is self._opened:
            self._back_off()  # it crashed, which its owner has logged
        elif self._is_begun_by_request and not self._has_ended:
            self._note_failure(failure)  # here, since the request may have left long ago

    def _disarm(self) -> None:
        if self._stop_notice is not None:
            self._stop_notice.remove()
            self._stop_notice = None
        if self._exit_hook is not None:
            self._exit_hook.remove()
            self._exit_hook = None
