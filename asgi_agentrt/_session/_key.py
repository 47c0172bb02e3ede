"""Session ids: which are accepted, and their names where not every text will do."""

from __future__ import annotations

import hashlib
import re

from ._store import SessionKey

ID_LIMIT = 256

# Control characters (C0, DEL, C1), and surrogates, which are halves of characters.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# All lower case, and neither "." nor anything that a file system or a shell gives a meaning to.
_PLAIN_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_")
# File systems take 255 bytes, encrypting ones 143, and a temporary file has a longer name.
_NAME_LIMIT = 110
_HEAD = 40


def make_key(session_id: str, user_id: str = "") -> SessionKey:
    """Return the key of a session.

    Raises:
        ValueError: an id is not text, too long, empty (`session_id`), or has control characters.
    """
    _check_id("session_id", session_id)
    if not session_id:
        raise ValueError("session_id must not be empty")
    _check_id("user_id", user_id)
    return SessionKey(user_id, session_id)


def _check_id(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{field} must be text")
    if len(value) > ID_LIMIT:
        raise ValueError(f"{field} must not be longer than {ID_LIMIT} characters")
    if _REFUSED.search(value):
        raise ValueError(f"{field} must not have control characters or halves of characters")


def encode_key(key: SessionKey) -> str:
    """Return a name for a session that no other session has, ignoring case.

    It has a "@" between user and session and is made of lower-case ASCII letters, digits and
    `-_%~@` only, at most 110 of them: no path, no reserved name, the same on every file system.
    """
    name = f"{_encode(key.user_id)}@{_encode(key.session_id)}"
    if len(name) <= _NAME_LIMIT:
        return name
    # The digest tells them apart, the head is for people; "~" is in no name without a digest.
    return f"{name[:_HEAD]}~{hashlib.sha256(name.encode()).hexdigest()}"


def encode_id(value: str) -> str:
    """Return a name for one id that no other id has, ignoring case, of the same characters."""
    name = _encode(value)
    if len(name) <= _NAME_LIMIT:
        return name
    return f"{name[:_HEAD]}~{hashlib.sha256(name.encode()).hexdigest()}"


def _encode(value: str) -> str:
    return "".join(
        chr(byte) if byte in _PLAIN_BYTES else f"%{byte:02x}"
        for byte in value.encode("utf-8", "surrogatepass")
    )


# No underscore: AgentScope writes user "a_b" session "c" and user "a" session "b_c" to one file.
_UNAMBIGUOUS = re.compile("[A-Za-z0-9-][A-Za-z0-9.-]{0,80}")


def agentscope_name(key: SessionKey) -> str:
    """Return the name that AgentScope 1.x's JSONSession gives to a session, without `.json`."""
    return f"{key.user_id}_{key.session_id}" if key.user_id else key.session_id


def is_agentscope_name_safe(key: SessionKey) -> bool:
    """Whether that name stays in its folder and can be another user's session neither."""
    return all(map(_UNAMBIGUOUS.fullmatch, filter(None, key)))


_PLAIN = re.compile("[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}")


def is_plain_id(value: str) -> bool:
    """Whether an id is a harmless file name as it stands."""
    return bool(_PLAIN.fullmatch(value))


def is_file_name(name: str) -> bool:
    """Whether a name, with its ending, stays in its folder and can be looked up."""
    return len(name) <= _NAME_LIMIT and not _REFUSED.search(name) and "/" not in name
