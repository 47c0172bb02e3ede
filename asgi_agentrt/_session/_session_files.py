"""Session files in a folder: read whole, replaced whole, compared before they are replaced."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ..exceptions import SessionConflictError, SessionCorruptError, SessionError
from ._disk import read_file, sync_folder, write_file
from ._document import decode_document, encode_document, is_object
from ._file_lock import hold_file_lock
from ._key import agentscope_name, encode_key, is_agentscope_name_safe, is_file_name
from ._store import ABSENT, RESERVED_PREFIX, Document, SessionKey, Stored, Version

logger = logging.getLogger(__name__)

# AgentScope 1.x reads the entries that it knows by name, so this one does not disturb it.
HEADER: Final = f"{RESERVED_PREFIX}file"
_HEAD = re.compile(rb'\{"%s":\{"version":"([0-9a-f]{32})"' % HEADER.encode())
_HEAD_BYTES: Final = 80

_LOCK_FOLDER: Final = ".locks"
_LOCK_COUNT: Final = 64
_LOCK_TIMEOUT_S: Final = 10.0
# A temporary file this old belongs to a process that died.
_LEFTOVER_AGE_S: Final = 900.0


class SessionFiles:
    """The files of one folder, in AgentScope 1.x's JSON layout. Every method blocks the thread.

    Sessions are told apart by user and id, and files are named by `encode_key`. Files that
    AgentScope's `JSONSession` wrote are read where nobody else's could have that name.

    Args:
        folder: Created when missing, for its owner only.
        ttl_s: Seconds since its last use after which a session counts as absent.
        check_cancelled: Called while waiting for other processes.
    """

    def __init__(
        self, folder: Path, *, ttl_s: float | None, check_cancelled: Callable[[], None]
    ) -> None:
        self._folder = folder
        self._ttl_s = ttl_s
        self._check_cancelled = check_cancelled

    def open(self) -> None:
        """Make the folder, see that it can be written, remove what killed processes left.

        Raises:
            OSError: it cannot be made or written.
        """
        self._make_folders()
        probe = self._temporary("open")
        write_file(probe, ())
        probe.unlink()
        self._remove_leftovers()

    def load(self, key: SessionKey) -> Stored:
        """Return a session.

        Raises:
            SessionCorruptError: the file is no session, or another one's.
            SessionError: it cannot be read.
        """
        with _in_words("load"):
            if (path := self._find(key)) is None:
                self._warn_of_namesakes(key)
                return Stored(None, ABSENT)
            if self._is_expired(path):
                with self._locked(key):
                    # Looked at again: somebody may have used it while we waited.
                    if self._is_expired(path):
                        self._remove(key)
                        return Stored(None, ABSENT)
            content = read_file(path)
            if content is None:
                return Stored(None, ABSENT)
            if self._ttl_s is not None:
                with suppress(FileNotFoundError):
                    os.utime(path)
        document = decode_document(content, f"the file {path}")
        header = document.pop(HEADER, None)
        if header is not None and not _is_header_of(header, key):
            raise SessionCorruptError(f"the file {path} holds another session")
        return Stored(document, _version_of(content))

    def save(self, key: SessionKey, document: Document, version: Version) -> Version:
        """Replace a session.

        Raises:
            SessionConflictError: it is at another version.
            SessionError: a value is not JSON, or it cannot be written.
        """
        new_version = secrets.token_hex(16)
        header = {"version": new_version, "user_id": key.user_id, "session_id": key.session_id}
        pieces = encode_document(document, (HEADER, header))
        with _in_words("save"):
            self._replace(key, pieces, version)
        return new_version

    def delete(self, key: SessionKey) -> None:
        """Forget a session.

        Raises:
            SessionError: it cannot be deleted.
        """
        with _in_words("delete"), self._locked(key):
            self._remove(key)

    def _replace(self, key: SessionKey, pieces: Sequence[bytes], version: Version) -> None:
        # Written before the lock is taken: nobody waits for another one's disk.
        temporary = self._temporary(encode_key(key))
        try:
            try:
                write_file(temporary, pieces)
            except FileNotFoundError:  # the folder was removed while we ran
                self._make_folders()
                write_file(temporary, pieces)
            with self._locked(key):
                if version != self._current_version(key):
                    raise SessionConflictError("the session was saved by somebody else in between")
                temporary.replace(self._path(key))
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(self._folder)

    def _remove(self, key: SessionKey) -> None:
        # The file that was taken over goes first: it must not come back to life.
        if (legacy := self._find_agentscope(key)) is not None:
            legacy.unlink(missing_ok=True)
        self._path(key).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _current_version(self, key: SessionKey) -> Version:
        path = self._find(key)
        if path is None or self._is_expired(path):
            return ABSENT
        head = read_file(path, _HEAD_BYTES) or b""
        if _HEAD.match(head):
            return _version_of(head)
        content = read_file(path)
        return ABSENT if content is None else _version_of(content)

    def _path(self, key: SessionKey) -> Path:
        return self._folder / f"{encode_key(key)}.json"

    def _find(self, key: SessionKey) -> Path | None:
        path = self._path(key)
        return path if os.path.lexists(path) else self._find_agentscope(key)

    def _find_agentscope(self, key: SessionKey) -> Path | None:
        name = f"{agentscope_name(key)}.json"
        if not is_agentscope_name_safe(key):
            return None
        if not os.path.lexists(self._folder / name):
            return None
        # Where case does not matter, "Ann.json" answers to the name of "ann".
        with os.scandir(self._folder) as entries:
            found = any(entry.name == name for entry in entries)
        return self._folder / name if found else None

    def _warn_of_namesakes(self, key: SessionKey) -> None:
        name = f"{agentscope_name(key)}.json"
        if is_agentscope_name_safe(key) or not is_file_name(name):
            return
        if os.path.lexists(self._folder / name):
            logger.warning(
                "%s is not read, since it could be the session of several users; if it is this "
                "one's, rename it to %s",
                self._folder / name,
                self._path(key).name,
            )

    def _is_expired(self, path: Path) -> bool:
        if self._ttl_s is None:
            return False
        try:
            return path.stat().st_mtime + self._ttl_s < time.time()
        except FileNotFoundError:
            return False

    @contextmanager
    def _locked(self, key: SessionKey) -> Generator[None]:
        # A fixed number of files for all sessions: they are never removed, that would be a race.
        number = zlib.crc32(encode_key(key).encode()) % _LOCK_COUNT
        path = self._folder / _LOCK_FOLDER / f"{number:02d}"
        if not path.parent.exists():
            self._make_folders()
        with hold_file_lock(path, timeout_s=_LOCK_TIMEOUT_S, check_cancelled=self._check_cancelled):
            yield

    def _temporary(self, name: str) -> Path:
        return self._folder / f".{name}.{secrets.token_hex(8)}.tmp"

    def _make_folders(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._folder / _LOCK_FOLDER).mkdir(mode=0o700, exist_ok=True)

    def _remove_leftovers(self) -> None:
        oldest = time.time() - _LEFTOVER_AGE_S
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") and entry.name.endswith(".tmp"):
                    with suppress(OSError):
                        if entry.stat(follow_symlinks=False).st_mtime < oldest:
                            Path(entry).unlink()


@contextmanager
def _in_words(verb: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = error.strerror or type(error).__name__
        raise SessionError(f"cannot {verb} the session: {reason}{where}") from error


def _version_of(content: bytes) -> Version:
    """Return the version in the header, or a digest for files that AgentScope wrote."""
    if found := _HEAD.match(content):
        return found[1].decode()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _is_header_of(header: object, key: SessionKey) -> bool:
    return (
        is_object(header)
        and header.get("user_id") == key.user_id
        and header.get("session_id") == key.session_id
    )
