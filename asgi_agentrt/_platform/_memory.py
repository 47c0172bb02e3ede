"""How much memory this process holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MEBIBYTE = 1024 * 1024
_STATM = Path("/proc/self/statm")


def resident_memory_mb() -> int:
    """Return the resident memory of this process in MiB.

    The current figure on Linux; elsewhere the highest so far, and 0 where nobody tells.
    """
    try:
        pages = int(_STATM.read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // _MEBIBYTE
    except (OSError, ValueError, IndexError, AttributeError):
        return _highest_resident_memory_mb()


def _highest_resident_memory_mb() -> int:
    try:
        import resource  # noqa: PLC0415 (there is no such module on Windows)
    except ImportError:
        return 0
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, everybody else KiB.
    return highest // _MEBIBYTE if sys.platform == "darwin" else highest // 1024
