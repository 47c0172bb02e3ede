"""Reports to a platform, and what the platform asks for in return."""

from ._memory import resident_memory_mb
from ._reporter import Reporter
from ._snapshot import Action, Snapshot, Status
from ._timing import Timing

__all__ = ["Action", "Reporter", "Snapshot", "Status", "Timing", "resident_memory_mb"]
