"""Every error this package raises on purpose.

AgentRuntimeError
├── ConfigError               agentapp.yaml (or the mapping in its place) has faults
├── ProjectError              the project folder, app.py or its App cannot be used
├── MissingExtraError         a library that an extra of this package installs is absent
├── StartupError              a resource did not open; names which
├── LifecycleError            started twice, or no runtime (or several) to speak of
├── PlatformError             the platform answered something that cannot be used
├── SessionError
│   ├── SessionConflictError  somebody else saved a newer version
│   └── SessionCorruptError   what the store holds is not a session
└── InvocationError           a call that did not end well, each with its wire code
    ├── InvalidRequestError   INVALID_REQUEST
    ├── SessionBusyError      SESSION_BUSY
    ├── OverloadedError       OVERLOADED
    ├── NotReadyError         NOT_READY
    ├── RunCancelledError     CANCELLED
    ├── AppError              APP_ERROR
    │   └── MessageError      the app yielded something that is no message
    └── InternalError         INTERNAL
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class AgentRuntimeError(Exception):
    """Base of every error this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in a configuration.

    `file` is the name the user knows it by, `line` counts from 1 and is None where there are no
    lines (a mapping given in code), `path` is dotted (`models.main.provider`) and empty for the
    whole document.
    """

    file: str
    line: int | None
    path: str
    reason: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.reason) if part)


class ConfigError(AgentRuntimeError, ValueError):
    """The configuration cannot be used; `problems` holds every fault, in file order."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class ProjectError(AgentRuntimeError):
    """The project cannot be loaded; the text names the file and what to do."""


class MissingExtraError(AgentRuntimeError, ImportError):
    """A library is needed that is not installed; the text holds the `pip install` line."""


class StartupError(AgentRuntimeError):
    """A resource did not open; `resource` is its dotted name (`mcp_servers.search`)."""

    def __init__(self, resource: str, reason: str) -> None:
        super().__init__(resource, reason)
        self.resource = resource
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.resource}: {self.reason}"


class LifecycleError(AgentRuntimeError, RuntimeError):
    """A runtime was used at the wrong time: started twice, not started, or ambiguous."""


class PlatformError(AgentRuntimeError):
    """The platform could not be reached or answered something that cannot be used."""


class SessionError(AgentRuntimeError):
    """A session could not be read or written."""


class SessionConflictError(SessionError):
    """The session was saved by somebody else since it was loaded; nothing was written."""


class SessionCorruptError(SessionError):
    """What the store holds under this session is not a session document."""


class InvocationError(AgentRuntimeError):
    """A call that did not end well. `code` is what the client reads in `error.code`."""

    code: ClassVar[str] = "INTERNAL"


class InvalidRequestError(InvocationError, ValueError):
    """The request is not one; the text names the field."""

    code = "INVALID_REQUEST"


class SessionBusyError(InvocationError):
    """The session runs another call, `run_id`, and `session.concurrency` is `reject`."""

    code = "SESSION_BUSY"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"the session is busy with run {self.run_id}"


class OverloadedError(InvocationError):
    """`server.max_concurrency` invocations run and `server.max_queue` wait already."""

    code = "OVERLOADED"


class NotReadyError(InvocationError):
    """The runtime is starting, failed to start, or is draining.

    `retry_after` is the number of seconds after which trying again makes sense.
    """

    code = "NOT_READY"

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(reason, retry_after)
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        return self.reason


class RunCancelledError(InvocationError):
    """The run was cancelled.

    `reason` is `disconnected`, `interrupted`, `session_lost` or `shutdown`, as `ctx.cancel_reason`.
    """

    code = "CANCELLED"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the run was cancelled: {self.reason}"


class AppError(InvocationError):
    """The user's app raised; the original is `__cause__`."""

    code = "APP_ERROR"


class MessageError(AppError):
    """The app yielded something that is no message, or is not JSON.

    `path` says where (`content[0].text`, empty for the whole value); the text names the type,
    never the value.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason, path)
        self.reason = reason
        self.path = path

    def __str__(self) -> str:
        where = f"{self.path} " if self.path else ""
        return f"the app yielded a message that cannot be sent: {where}{self.reason}"


class InternalError(InvocationError):
    """A fault of this package."""
