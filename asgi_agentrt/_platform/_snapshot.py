"""What one heartbeat says about the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["starting", "running", "draining", "stopping", "failed"]
Action: TypeAlias = Literal["restart", "reload"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The runtime at one moment.

    Attributes:
        status: What the runtime is doing.
        active_sessions: Sessions with a running invocation, or used within the last interval.
        total_requests: Invocations since the process started, refused ones left out.
    """

    status: Status
    active_sessions: int
    total_requests: int
