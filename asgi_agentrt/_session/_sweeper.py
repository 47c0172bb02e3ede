"""Looks through folders a few entries at a time, on the way to other things."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

# What one call pays, in entries that it looks at.
_STEP: Final = 32

Judge: TypeAlias = Callable[["os.DirEntry[str]"], None]


class Sweeper:
    """Shows each entry of some folders to a function, again and again.

    Blocks the thread; several may call it, of which one at a time does something.

    Args:
        judges: What to call with the entries of each folder; an OSError from it is ignored.
        period_s: Seconds between the end of one pass and the beginning of the next.
    """

    def __init__(self, judges: Mapping[Path, Judge], *, period_s: float) -> None:
        self._judges = judges
        self._period_s = period_s
        self._due_at = time.monotonic() + period_s
        self._pass: Generator[None] | None = None
        self._turn = threading.Lock()

    def step(self) -> None:
        """Go on with the pass that is under way, or begin one if it is time to."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            if self._pass is None:
                if time.monotonic() < self._due_at:
                    return
                self._pass = self._look()
            for _ in range(_STEP):
                if next(self._pass, self) is self:
                    self._end()
                    return
        finally:
            self._turn.release()

    def close(self) -> None:
        """Let go of the folder that is being read."""
        with self._turn:
            self._end()

    def run(self) -> None:
        """Make one whole pass, now."""
        with self._turn:
            self._end()
            for _ in self._look():
                pass

    def _end(self) -> None:
        if self._pass is not None:
            self._pass.close()
            self._pass = None
        self._due_at = time.monotonic() + self._period_s

    def _look(self) -> Generator[None]:
        for folder, judge in self._judges.items():
            with suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(OSError):
                        judge(entry)
                    yield
