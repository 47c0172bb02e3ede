"""Which ids are accepted, and what files they become."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgi_agentrt._session import SessionKey, make_key
from asgi_agentrt._session._key import (
    agentscope_name,
    encode_id,
    encode_key,
    is_agentscope_name_safe,
)
from asgi_agentrt._session._session_files import SessionFiles

any_text = st.text(st.characters(), max_size=300)
# Few characters, so that two drawn texts are often nearly equal.
tricky_text = st.text(st.sampled_from("aAbé_@%~./\\\0 -4\u0661Å"), max_size=6)
long_text = st.sampled_from(["x" * 250, "x" * 251, "X" * 250, "é" * 200, "é" * 199 + "è"])
ids = any_text | tricky_text | long_text
keys = st.builds(SessionKey, ids, ids)

HOSTILE = [
    SessionKey("", "../evil"),
    SessionKey("..", ".."),
    SessionKey("", "/etc/passwd"),
    SessionKey("", "C:\\windows\\system32"),
    SessionKey("", "a\0b"),
    SessionKey("", "con"),
    SessionKey("nul", "com1.txt"),
    SessionKey("", "trailing. "),
    SessionKey("", ""),
    SessionKey("", ".locks"),
    SessionKey("a_b", "c"),
    SessionKey("a", "b_c"),
    SessionKey("", "a_b_c"),
    SessionKey("a@b", "c"),
    SessionKey("a", "b@c"),
    SessionKey("", "Ann"),
    SessionKey("", "ann"),
    SessionKey("", "ANN"),
    SessionKey("", unicodedata.normalize("NFC", "é")),
    SessionKey("", unicodedata.normalize("NFD", "é")),
    SessionKey("", "ß"),
    SessionKey("", "ss"),
    SessionKey("", "\ud800"),
    SessionKey("", "x" * 256),
    SessionKey("", "X" * 256),
    SessionKey("x" * 256, "x" * 256),
    SessionKey("x" * 255, "x" + "x" * 256),
    SessionKey("", "😀" * 256),
    SessionKey("", "%41"),
    SessionKey("", "a\nb"),
    SessionKey("", "$(reboot)"),
]


@settings(max_examples=2000, deadline=None)
@given(keys)
@example(SessionKey("", "/" * 256))
def test_a_name_is_a_harmless_file_name_everywhere(key: SessionKey) -> None:
    assert re.fullmatch(r"[a-z0-9%_~@-]{1,110}", encode_key(key))
    assert re.fullmatch(r"[a-z0-9%_~-]{0,110}", encode_id(key.session_id))


@settings(max_examples=2000, deadline=None)
@given(keys, keys)
@example(SessionKey("a_b", "c"), SessionKey("a", "b_c"))
@example(SessionKey("", "a@b"), SessionKey("a", "b"))
@example(SessionKey("", "x" * 300), SessionKey("", "x" * 299 + "X"))
def test_two_sessions_never_have_one_name(one: SessionKey, other: SessionKey) -> None:
    assert (encode_key(one).casefold() == encode_key(other).casefold()) is (one == other)


def test_hostile_ids_are_files_of_their_own_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "sessions"
    files = SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None)
    files.open()
    for number, key in enumerate(HOSTILE):
        assert files.save(key, {"own": {"number": number}}, "")
    for number, key in enumerate(HOSTILE):
        assert files.load(key).document == {"own": {"number": number}}, key
    written = [path for path in folder.iterdir() if path.is_file()]
    assert len({path.name.casefold() for path in written}) == len(HOSTILE)
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents
    ] == []


@settings(max_examples=150, deadline=None)
@given(key=keys)
def test_any_session_is_read_back_from_its_file(
    key: SessionKey, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-session"
    files = SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None)
    files.open()
    version = files.save(key, {"key": list(key)}, files.load(key).version)
    assert files.load(key) == ({"key": list(key)}, version)


@pytest.mark.parametrize(
    ("user_id", "session_id", "safe"),
    [
        ("", "s1", True),
        ("ann", "7f0c-41", True),
        ("", "v1.2", True),
        ("ann", "b_c", False),
        ("a_b", "c", False),
        ("", "a_b", False),
        ("", "../secret", False),
        ("..", "x", False),
        ("", ".hidden", False),
        ("", "a/b", False),
        ("", "a@b", False),
        ("", "x" * 200, False),
    ],
)
def test_plain_names_are_used_only_if_no_other_user_can_have_them(
    user_id: str, session_id: str, safe: bool
) -> None:
    assert is_agentscope_name_safe(SessionKey(user_id, session_id)) is safe


def test_two_sessions_never_have_one_plain_name() -> None:
    parts = ["", "a", "b", "a_b", "b_a", "A", "a.b", "a_b_a"]
    keys = [SessionKey(user, session) for user in parts for session in parts[1:]]
    safe = [agentscope_name(key) for key in keys if is_agentscope_name_safe(key)]
    assert len(safe) == len(set(safe))
    assert len(safe) > 10


@pytest.mark.parametrize(
    ("session_id", "user_id"),
    [
        ("", ""),
        ("x" * 257, ""),
        ("a\nb", ""),
        ("a\0b", ""),
        ("a\x85b", ""),
        ("\ud800", ""),
        ("s", "u" * 257),
        ("s", "\x7f"),
        (1, ""),
        ("s", None),
    ],
)
def test_unacceptable_ids_are_value_errors(session_id: str, user_id: str) -> None:
    with pytest.raises(ValueError, match=r"session_id|user_id"):
        make_key(session_id, user_id)


def test_any_other_text_is_an_id() -> None:
    assert make_key("x" * 256, "") == ("", "x" * 256)
    assert make_key("../é 😀", "..") == ("..", "../é 😀")
