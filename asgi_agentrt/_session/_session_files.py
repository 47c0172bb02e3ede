"""Session files in a folder: read whole, replaced whole, compared before they are replaced."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from ..exceptions import SessionConflictError, SessionCorruptError, SessionError
from ._agentscope_files import AgentScopeFiles
from ._disk import read_file, sync_folder, write_file
from ._document import decode_document, encode_document, is_object
from ._file_lock import FileLocks
from ._key import encode_key
from ._line import Entry, Standing, Ticket
from ._line_files import LineFiles
from ._store import ABSENT, RESERVED_PREFIX, Document, SessionKey, Stored, Version
from ._sweeper import Sweeper

T = TypeVar("T")

# AgentScope 1.x reads the entries that it knows by name, so this one does not disturb it.
HEADER: Final = f"{RESERVED_PREFIX}file"
_HEAD = re.compile(rb'\{"%s":\{"version":"([0-9a-f]{32})"' % HEADER.encode())
_HEAD_BYTES: Final = 80

_LOCK_FOLDER: Final = ".locks"
_LINE_FOLDER: Final = ".lines"
# A temporary file this old belongs to a process that died, and a line this old to several.
_LEFTOVER_AGE_S: Final = 900.0
_SWEEP_PERIOD_S: Final = 3600.0


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
        self._locks = FileLocks(folder / _LOCK_FOLDER, check_cancelled)
        self._lines = LineFiles(folder / _LINE_FOLDER, self._locks)
        self._agentscope = AgentScopeFiles(folder, folder / _LOCK_FOLDER)
        period_s = _SWEEP_PERIOD_S if ttl_s is None else min(_SWEEP_PERIOD_S, ttl_s / 4)
        judges = {folder: self._judge, folder / _LINE_FOLDER: self._judge_line}
        self._sweeper = Sweeper(judges, period_s=period_s)

    def open(self) -> None:
        """Make the folder, see that it can be written, remove what killed processes left.

        Raises:
            OSError: it cannot be made or written.
        """
        self._make_folders()
        probe = self._temporary("open")
        write_file(probe, ())
        probe.unlink()
        self._sweeper.run()

    def load(self, key: SessionKey) -> Stored:
        """Return a session.

        Raises:
            SessionCorruptError: the file is no session, or another one's.
            SessionError: it cannot be read.
        """
        with _in_words("load"):
            if (path := self._find(key)) is None:
                self._agentscope.warn_of_namesakes(key)
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
        if header is not None and _key_in(header) != key:
            raise SessionCorruptError(f"the file {path} holds another session")
        return Stored(document, _version_of(content))

    def save(
        self, key: SessionKey, document: Document, version: Version, ticket: Ticket | None = None
    ) -> Version:
        """Replace a session; with a ticket, only when no other one has the turn.

        Raises:
            SessionConflictError: it is at another version, or it is another ticket's turn.
            SessionError: a value is not JSON, or it cannot be written.
        """
        new_version = secrets.token_hex(16)
        header = {"version": new_version, "user_id": key.user_id, "session_id": key.session_id}
        pieces = encode_document(document, (HEADER, header))
        with _in_words("save"):
            self._replace(key, pieces, version, ticket)
            self._sweeper.step()
        return new_version

    def delete(self, key: SessionKey) -> None:
        """Forget a session.

        Raises:
            SessionError: it cannot be deleted.
        """
        with _in_words("delete"):
            self._in_folders(lambda: self._delete(key))

    # ---- lines -------------------------------------------------------------------------------

    def enter(self, key: SessionKey, ticket: Ticket, entry: Entry) -> Standing:
        """Join a line, or raise SessionError."""
        with _in_words("enter the line of"):
            return self._in_folders(lambda: self._lines.enter(key, ticket, entry))

    def renew(self, key: SessionKey, ticket: Ticket, lease_s: float) -> Standing:
        """Extend a lease, or raise SessionError."""
        with _in_words("stay in the line of"):
            return self._in_folders(lambda: self._lines.renew(key, ticket, lease_s))

    def leave(self, key: SessionKey, ticket: Ticket) -> None:
        """Leave a line, or raise SessionError."""
        with _in_words("leave the line of"):
            self._in_folders(lambda: self._lines.leave(key, ticket))

    # ---- within the folder -------------------------------------------------------------------

    def _replace(
        self, key: SessionKey, pieces: Sequence[bytes], version: Version, ticket: Ticket | None
    ) -> None:
        # Written before the lock is taken: nobody waits for another one's disk.
        temporary = self._temporary(encode_key(key))
        try:
            self._in_folders(lambda: write_file(temporary, pieces))
            with self._locked(key):
                if ticket is not None:
                    self._lines.check_turn(key, ticket)
                if version != self._current_version(key):
                    raise SessionConflictError("the session was saved by somebody else in between")
                temporary.replace(self._path(key))
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(self._folder)

    def _delete(self, key: SessionKey) -> None:
        with self._locked(key):
            self._remove(key)
        sync_folder(self._folder)

    def _remove(self, key: SessionKey) -> None:
        # The file that was taken over goes first: it must not come back to life.
        if (legacy := self._agentscope.find(key)) is not None:
            legacy.unlink(missing_ok=True)
        self._path(key).unlink(missing_ok=True)

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
        self._agentscope.note_user(key)
        path = self._path(key)
        return path if os.path.lexists(path) else self._agentscope.find(key)

    def _is_expired(self, path: Path) -> bool:
        if self._ttl_s is None:
            return False
        try:
            return path.stat().st_mtime + self._ttl_s < time.time()
        except FileNotFoundError:
            return False

    @contextmanager
    def _locked(self, key: SessionKey) -> Generator[None]:
        with self._locks.hold(encode_key(key)):
            yield

    def _temporary(self, name: str) -> Path:
        return self._folder / f".{name}.{secrets.token_hex(8)}.tmp"

    def _in_folders(self, act: Callable[[], T]) -> T:
        """Do something that fails when the folders are missing; they may be removed at any time."""
        try:
            return act()
        except FileNotFoundError:
            self._make_folders()
            return act()

    def _make_folders(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (_LOCK_FOLDER, _LINE_FOLDER):
            (self._folder / name).mkdir(mode=0o700, exist_ok=True)

    # ---- what nobody needs any more ----------------------------------------------------------

    def _judge(self, entry: os.DirEntry[str]) -> None:
        """Remove an entry that is a killed process's, or a session that has expired."""
        if entry.name.startswith(".") and entry.name.endswith(".tmp"):
            if _is_left_over(entry):
                Path(entry).unlink()
        elif self._ttl_s is not None and "@" in entry.name and entry.name.endswith(".json"):
            path = Path(entry)
            if not entry.is_file(follow_symlinks=False) or not self._is_expired(path):
                return
            with suppress(SessionError), self._locks.hold(path.stem, timeout_s=0):
                # Looked at again, as in `load`; what is not ours is left alone.
                content = read_file(path) if self._is_expired(path) else None
                if content is None:
                    return
                key = _key_in(decode_document(content, "").get(HEADER))
                if key is not None and self._path(key) == path:
                    self._remove(key)

    def _judge_line(self, entry: os.DirEntry[str]) -> None:
        if _is_left_over(entry):
            with suppress(SessionError):
                self._lines.drop_if_forgotten(entry.name)


def _is_left_over(entry: os.DirEntry[str]) -> bool:
    return entry.stat(follow_symlinks=False).st_mtime < time.time() - _LEFTOVER_AGE_S


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


def _key_in(header: object) -> SessionKey | None:
    if not is_object(header):
        return None
    user_id, session_id = header.get("user_id"), header.get("session_id")
    if isinstance(user_id, str) and isinstance(session_id, str):
        return SessionKey(user_id, session_id)
    return None
