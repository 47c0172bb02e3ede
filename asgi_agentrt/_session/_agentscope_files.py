"""Finds the files that AgentScope 1.x's `JSONSession` wrote."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from ._key import agentscope_name, encode_key, is_agentscope_name_safe, is_file_name, is_plain_id
from ._store import SessionKey

logger = logging.getLogger(__name__)

_MARK: Final = "users"


class AgentScopeFiles:
    """The files of AgentScope in a folder of ours. Every method blocks the thread.

    AgentScope puts an underscore between user and session, and leaves the user out when there is
    none: `a_b_c.json` may be session "a_b_c" of nobody, "b_c" of user "a" or "c" of user "a_b".
    A name without further underscores is read for the one session that it can be. One with them
    is read for the session of nobody, as long as nobody ever came to this folder as a user: where
    no users are told apart, none can read another's. The first session of a user leaves a mark in
    the folder, and from then on such files have to be renamed to be read.

    Args:
        folder: Where the files lie.
        mark_folder: Where the mark is put; it has no other use for the name "users".
    """

    def __init__(self, folder: Path, mark_folder: Path) -> None:
        self._folder = folder
        self._mark = mark_folder / _MARK
        self._is_marked = False

    def note_user(self, key: SessionKey) -> None:
        """Remember in the folder that sessions have users; call it with every key."""
        if self._is_marked or not key.user_id:
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        # A folder that is not there or cannot be written has no sessions to be mixed up either;
        # it is tried again with the next session.
        with suppress(OSError):
            os.close(os.open(self._mark, flags, 0o600))
            self._is_marked = True

    def find(self, key: SessionKey) -> Path | None:
        """Return the file of a session, if it is there and cannot be another user's."""
        path = self._folder / f"{agentscope_name(key)}.json"
        if not (is_agentscope_name_safe(key) or (not key.user_id and is_plain_id(key.session_id))):
            return None
        if not os.path.lexists(path):
            return None
        if not is_agentscope_name_safe(key) and os.path.lexists(self._mark):
            return None
        # Where case does not matter, "Ann.json" answers to the name of "ann".
        with os.scandir(self._folder) as entries:
            found = any(entry.name == path.name for entry in entries)
        return path if found else None

    def warn_of_namesakes(self, key: SessionKey) -> None:
        """Say so if there is a file that is not read because it may be another user's."""
        name = f"{agentscope_name(key)}.json"
        if is_agentscope_name_safe(key) or not is_file_name(name):
            return
        if os.path.lexists(self._folder / name):
            logger.warning(
                "%s is not read, since it could be the session of several users; if it is this "
                "one's, rename it to %s.json",
                self._folder / name,
                encode_key(key),
            )
