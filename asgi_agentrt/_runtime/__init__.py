"""The runtime of a project, and `runtime`, which is the right one wherever it is used."""

from ._current import CurrentRuntime, runtime
from ._runtime import OnRestart, Runtime, Status

__all__ = ["CurrentRuntime", "OnRestart", "Runtime", "Status", "runtime"]
