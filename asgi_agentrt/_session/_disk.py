"""Files that are written to the disk itself, and read without a surprise. Blocks the thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ..exceptions import SessionCorruptError


def write_file(path: Path, pieces: Sequence[bytes]) -> None:
    """Write a new file, readable by its owner only, and see it onto the disk.

    Raises:
        OSError: it exists, or cannot be written; what was written of it may remain.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def read_file(path: Path, limit: int = -1) -> bytes | None:
    """Return what is in a file, or its first `limit` bytes; None when there is none.

    Raises:
        SessionCorruptError: it is a folder, a pipe or the like.
        OSError: it cannot be read; a link is not followed.
    """
    # Not blocking: opening a pipe that somebody put here would wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SessionCorruptError(f"{path} is no file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """See a change of names in a folder onto the disk, where its file system can do that.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
