"""What a platform is told about a runtime, and what it may ask of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from .._config import PlatformConfig
from .._run import RunPool

if TYPE_CHECKING:
    from .._platform import Action, Reporter, Snapshot
    from .._platform import Status as PlatformStatus

Status: TypeAlias = Literal["starting", "healthy", "degraded", "unhealthy", "draining"]
OnRestart: TypeAlias = Callable[[], Awaitable[None] | None]

_PLATFORM_STATUS: dict[Status, PlatformStatus] = {
    "starting": "starting",
    "healthy": "running",
    "degraded": "running",
    "unhealthy": "failed",
    "draining": "draining",
}


class Reported(Protocol):
    """What is asked of a runtime here."""

    runs: RunPool

    @property
    def status(self) -> Status:
        """How it is, in one word."""
        ...

    async def reload(self) -> None:
        """Read the project again and switch over."""
        ...


def make_reporter(
    config: PlatformConfig, runtime: Reported, on_restart: OnRestart | None
) -> Reporter | None:
    """Return what reports a runtime to its platform; None if the configuration names none."""
    if config.endpoint is None:
        return None
    from .._platform import Reporter, Snapshot  # noqa: PLC0415  brings httpx along

    def snapshot() -> Snapshot:
        activity = runtime.runs.activity
        return Snapshot(
            _PLATFORM_STATUS[runtime.status], activity.active_sessions, activity.total_requests
        )

    async def act(action: Action) -> None:
        if action == "restart" and on_restart is not None:
            outcome = on_restart()
            if outcome is not None:
                await outcome
        else:
            await runtime.reload()  # for a restart as well: a guest never exits its host

    return Reporter(config, snapshot=snapshot, on_action=act)
