"""The runtime of a project, and `runtime`, which is the right one wherever it is used."""

from ._current import CurrentRuntime, runtime
from ._reporting import OnRestart, Status
from ._runtime import Runtime

__all__ = ["CurrentRuntime", "OnRestart", "Runtime", "Status", "runtime"]
