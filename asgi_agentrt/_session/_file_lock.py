"""Locks between threads and processes that share a folder."""

from __future__ import annotations

import fcntl
import os
import random
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..exceptions import SessionError

_COUNT: Final = 64
TIMEOUT_S: Final = 10.0


class FileLocks:
    """A lock for each name, of which some share one: there are as many files for any number.

    Args:
        folder: Where the files lie; it must be there when a lock is taken.
        check_cancelled: Called while waiting; what it raises ends the wait.
    """

    def __init__(self, folder: Path, check_cancelled: Callable[[], None]) -> None:
        self._prefix = f"{folder}{os.sep}"
        self._check_cancelled = check_cancelled

    @contextmanager
    def hold(self, name: str, *, timeout_s: float | None = None) -> Generator[None]:
        """Hold the lock of a name, and of any other: whoever holds one must not ask for a second.

        Args:
            name: Any text.
            timeout_s: Seconds to wait for others; None for the usual time.

        Raises:
            SessionError: somebody else held it for too long.
            OSError: the file cannot be opened.
        """
        # The files are never removed, that would be a race.
        path = f"{self._prefix}{zlib.crc32(name.encode()) % _COUNT:02d}"
        limit_s = TIMEOUT_S if timeout_s is None else timeout_s
        with hold_file_lock(path, timeout_s=limit_s, check_cancelled=self._check_cancelled):
            yield


@contextmanager
def hold_file_lock(
    path: str | Path, *, timeout_s: float, check_cancelled: Callable[[], None]
) -> Generator[None]:
    """Hold the lock that a file stands for; the system gives it back when the process dies.

    Blocks the thread. Each call opens the file anew, so threads exclude each other, too.

    Args:
        path: Created when missing, and never removed: whoever waits has it open already.
        timeout_s: Seconds to wait for others.
        check_cancelled: Called while waiting; what it raises ends the wait.

    Raises:
        SessionError: somebody else held it all the time.
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _acquire(descriptor, path, timeout_s, check_cancelled)
        try:
            yield
        finally:
            # Closing would not do: a child forked meanwhile holds the same open file.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(
    descriptor: int, path: str | Path, timeout_s: float, check_cancelled: Callable[[], None]
) -> None:
    deadline = time.monotonic() + timeout_s
    pause_s = 0.0005
    while True:
        try:
            # Polled, since a wait in the system call could be neither limited nor cancelled.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            check_cancelled()
            if time.monotonic() >= deadline:
                raise SessionError(f"another process has held {path} for {timeout_s:g} s") from None
            time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads those who wait
            pause_s = min(pause_s * 2, 0.01)
        else:
            return
