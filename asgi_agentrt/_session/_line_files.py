"""Lines as small files beside the sessions, for the processes of one machine."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..exceptions import SessionConflictError
from ._file_lock import FileLocks
from ._key import encode_key
from ._line import Entry, Line, Place, Standing, Ticket, enter, leave, may_save, renew
from ._lines import LOST_TURN
from ._store import SessionKey

_to_text: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":")).encode


class Moment(NamedTuple):
    """A point in time, by the clocks of one start of one machine.

    Attributes:
        boot: Names that start; "" where the system has no name for it.
        clock_s: Seconds of a clock that all its processes share and nobody sets.
        wall_s: Seconds since 1970, for those who do not share that clock.
    """

    boot: str
    clock_s: float
    wall_s: float


def this_moment() -> Moment:
    """Return the time on this machine."""
    return Moment(_boot_id(), time.monotonic(), time.time())


@cache
def _boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


class LineFiles:
    """The lines of one folder's sessions. Every method blocks the thread and raises OSError.

    A file is replaced whole under the session's lock, and is not seen onto the disk: what a power
    cut takes away stood for processes that are gone, too.

    Args:
        folder: Created when missing.
        locks: The same that guard the sessions.
        now: The clocks.
    """

    def __init__(
        self, folder: Path, locks: FileLocks, now: Callable[[], Moment] = this_moment
    ) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._locks = locks
        self._now = now

    def enter(self, key: SessionKey, ticket: Ticket, entry: Entry) -> Standing:
        """Join a line."""
        name = encode_key(key)
        with self._locks.hold(name):
            now = self._now()
            before = self._read(name, now)
            line, standing = enter(before, ticket, entry, now.clock_s)
            self._write(name, before, line, now)
        return standing

    def renew(self, key: SessionKey, ticket: Ticket, lease_s: float) -> Standing:
        """Extend a lease."""
        name = encode_key(key)
        with self._locks.hold(name):
            now = self._now()
            before = self._read(name, now)
            line, standing = renew(before, ticket, lease_s, now.clock_s)
            self._write(name, before, line, now)
        return standing

    def leave(self, key: SessionKey, ticket: Ticket) -> None:
        """Leave a line."""
        name = encode_key(key)
        with self._locks.hold(name):
            now = self._now()
            before = self._read(name, now)
            self._write(name, before, leave(before, ticket, now.clock_s), now)

    def check_turn(self, key: SessionKey, ticket: Ticket) -> None:
        """Raise SessionConflictError when somebody else has the turn; the caller has the lock."""
        if not may_save(self._read(encode_key(key), self._now()), ticket):
            raise SessionConflictError(LOST_TURN)

    def drop_if_forgotten(self, file_name: str) -> None:
        """Remove a line that processes left behind when they died, and what they half wrote.

        Raises:
            SessionError: the session's lock is not free.
        """
        name = Path(file_name).stem
        with self._locks.hold(name, timeout_s=0):
            now = self._now()
            before = self._read(name, now)
            after = leave(before, "", now.clock_s)
            self._write(name, before, after, now)
            if not after:
                (self._folder / file_name).unlink(missing_ok=True)

    # Twice for each call of an app: system calls only, and no paths but text.

    def _read(self, name: str, now: Moment) -> Line:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(f"{self._prefix}{name}.line", flags)
        except FileNotFoundError:
            return ()
        try:
            content = b""
            while piece := os.read(descriptor, 65536):
                content += piece
        finally:
            os.close(descriptor)
        return decode_line(content, now)

    def _write(self, name: str, before: Line, after: Line, now: Moment) -> None:
        if after == before:
            return
        path = f"{self._prefix}{name}.line"
        if not after:
            os.unlink(path)  # noqa: PTH108
            return
        # One name for all who die half-way, so that what they leave is written over.
        half_written = f"{self._prefix}{name}.half"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(half_written, flags, 0o600)
        try:
            content = encode_line(after, now)
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), half_written)
        finally:
            os.close(descriptor)
        os.replace(half_written, path)  # noqa: PTH105


def encode_line(line: Line, now: Moment) -> bytes:
    """Return what a line's file holds."""
    return _to_text({"at": now, "line": line}).encode()


def decode_line(content: bytes, now: Moment) -> Line:
    """Return the line that a file holds, its times by the clock of `now`; () if it is damaged.

    A file from before a restart, or of another machine that shares the folder, is dated by wall
    time: a lease has as much left as it had then, less the time since.
    """
    try:
        held: dict[str, Any] = json.loads(content)
        then = Moment(*held["at"])
        line = tuple(Place(*place) for place in held["line"])
        if then.boot == now.boot != "":
            return line
        shift_s = now.clock_s - then.clock_s - max(0.0, now.wall_s - then.wall_s)
        return tuple(place._replace(expires_at=float(place.expires_at) + shift_s) for place in line)
    except (ValueError, TypeError, KeyError):
        # A power cut: those who stood in it are gone.
        return ()
