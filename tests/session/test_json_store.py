"""Session files: who may read them, what may lie in their way, whose files are taken over."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from asgi_agentrt._session import ABSENT, SessionKey
from asgi_agentrt._session._file_lock import hold_file_lock
from asgi_agentrt._session._json_store import JsonStore
from asgi_agentrt._session._session_files import HEADER, SessionFiles
from asgi_agentrt.exceptions import (
    SessionConflictError,
    SessionCorruptError,
    SessionError,
    StartupError,
)

from .doubles import files_in

KEY = SessionKey("ann", "s1")
OLD = {"memory": {"content": ["é"]}}


@pytest.fixture
def old_umask() -> Any:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("old_umask")
async def test_only_the_owner_can_read_sessions(folder: Path) -> None:
    store = JsonStore(folder / "in" / "here")
    await store.open()
    await store.save(KEY, OLD, ABSENT)
    place = folder / "in" / "here"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "ann@s1.json").stat().st_mode) == 0o600
    assert files_in(place) == ["ann@s1.json"]


async def test_a_file_has_agentscopes_layout_and_one_entry_more(
    json_store: JsonStore, folder: Path
) -> None:
    version = await json_store.save(KEY, OLD, ABSENT)
    content = json.loads((folder / "ann@s1.json").read_text())
    header = {"version": version, "user_id": "ann", "session_id": "s1"}
    assert content == {HEADER: header, **OLD}


# ---- what AgentScope wrote -----------------------------------------------------------------------


async def test_a_file_of_agentscope_is_taken_over(json_store: JsonStore, folder: Path) -> None:
    (folder / "ann_s1.json").write_text(json.dumps(OLD, ensure_ascii=False))
    document, version = await json_store.load(KEY)
    assert document == OLD
    with pytest.raises(SessionConflictError):
        await json_store.save(KEY, OLD, ABSENT)
    new = {**OLD, "more": {}}
    await json_store.save(KEY, new, version)
    assert (await json_store.load(KEY)).document == new
    assert files_in(folder) == ["ann@s1.json", "ann_s1.json"]


async def test_a_file_of_agentscope_without_user_is_found(
    json_store: JsonStore, folder: Path
) -> None:
    (folder / "s1.json").write_bytes('{"a": {"text": "\ud83d"}}'.encode("utf-8", "surrogatepass"))
    assert (await json_store.load(SessionKey("", "s1"))).document == {"a": {"text": "\ud83d"}}


async def test_a_deleted_session_does_not_come_back_from_agentscopes_file(
    json_store: JsonStore, folder: Path
) -> None:
    (folder / "ann_s1.json").write_text(json.dumps(OLD))
    await json_store.save(KEY, OLD, (await json_store.load(KEY)).version)
    await json_store.delete(KEY)
    assert await json_store.load(KEY) == (None, ABSENT)
    assert files_in(folder) == []


@pytest.mark.parametrize("key", [SessionKey("ann", "b_c"), SessionKey("ann_b", "c")])
async def test_a_file_that_may_be_another_users_is_not_read(
    json_store: JsonStore, folder: Path, key: SessionKey, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "ann_b_c.json").write_text(json.dumps(OLD))
    with caplog.at_level(logging.WARNING):
        assert (await json_store.load(key)).document is None
    assert "ann_b_c.json" in caplog.text


NOBODYS = SessionKey("", "user_123_conv_456")


async def test_a_name_with_underscores_is_nobodys_while_nobody_comes_as_a_user(
    json_store: JsonStore, folder: Path
) -> None:
    (folder / "user_123_conv_456.json").write_text(json.dumps(OLD))
    await json_store.load(SessionKey("", "another"))
    document, version = await json_store.load(NOBODYS)
    assert document == OLD
    await json_store.save(NOBODYS, {**OLD, "more": {}}, version)
    assert (folder / "@user_123_conv_456.json").is_file()
    # It is a session of ours now, whoever comes.
    await json_store.load(SessionKey("user_123", "conv_456"))
    assert (await json_store.load(NOBODYS)).document == {**OLD, "more": {}}


@pytest.mark.parametrize("is_same_process", [True, False])
async def test_once_users_came_nobody_reads_what_may_be_theirs(
    json_store: JsonStore, folder: Path, is_same_process: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "user_123_conv_456.json").write_text(json.dumps(OLD))
    await json_store.load(SessionKey("bob", "s1"))
    store = json_store if is_same_process else JsonStore(folder)
    with caplog.at_level(logging.WARNING):
        assert (await store.load(NOBODYS)).document is None
    assert "rename it to @user_123_conv_456.json" in caplog.text
    await store.delete(NOBODYS)
    assert (folder / "user_123_conv_456.json").is_file()


async def test_a_file_outside_the_folder_is_not_read(json_store: JsonStore, folder: Path) -> None:
    (folder.parent / "secret.json").write_text(json.dumps(OLD))
    for session_id in ("../secret", str(folder.parent / "secret")):
        assert (await json_store.load(SessionKey("", session_id))).document is None


async def test_what_agentscope_writes_over_our_file_counts_as_a_new_version(
    json_store: JsonStore, folder: Path
) -> None:
    version = await json_store.save(KEY, OLD, ABSENT)
    (folder / "ann@s1.json").write_text('{"memory": {"content": []}}')
    with pytest.raises(SessionConflictError):
        await json_store.save(KEY, OLD, version)
    document, version = await json_store.load(KEY)
    assert document == {"memory": {"content": []}}
    await json_store.save(KEY, OLD, version)


# ---- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b'{"memory": {"cont', b"[]", b"\xff", b"null"])
async def test_a_damaged_file_is_named_and_kept(
    json_store: JsonStore, folder: Path, content: bytes
) -> None:
    (folder / "ann@s1.json").write_bytes(content)
    with pytest.raises(SessionCorruptError, match=r"ann@s1\.json"):
        await json_store.load(KEY)
    with pytest.raises(SessionConflictError):
        await json_store.save(KEY, OLD, ABSENT)
    assert (folder / "ann@s1.json").read_bytes() == content


async def test_a_file_that_was_renamed_is_not_taken_for_another_session(
    json_store: JsonStore, folder: Path
) -> None:
    await json_store.save(KEY, OLD, ABSENT)
    (folder / "ann@s1.json").rename(folder / "bob@s1.json")
    with pytest.raises(SessionCorruptError, match=r"bob@s1\.json holds another session"):
        await json_store.load(SessionKey("bob", "s1"))


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
async def test_what_is_no_file_is_an_error_at_once(
    json_store: JsonStore, folder: Path, make: Callable[[Path], object]
) -> None:
    make(folder / "ann@s1.json")
    with anyio.fail_after(5), pytest.raises(SessionError, match=r"ann@s1\.json"):
        await json_store.load(KEY)


async def test_a_folder_that_was_removed_is_made_again(json_store: JsonStore, folder: Path) -> None:
    version = await json_store.save(KEY, OLD, ABSENT)
    await anyio.to_thread.run_sync(shutil.rmtree, folder)
    assert (await json_store.load(KEY)).document is None
    with pytest.raises(SessionConflictError):
        await json_store.save(KEY, OLD, version)
    await json_store.save(KEY, OLD, ABSENT)
    assert (await json_store.load(KEY)).document == OLD


async def test_old_leftovers_are_removed_at_start_and_young_ones_ignored(folder: Path) -> None:
    await JsonStore(folder).open()
    old, young = folder / ".ann@s1.0123.tmp", folder / ".ann@s1.4567.tmp"
    for path in (old, young):
        path.write_text('{"memory": {"cont')
    os.utime(old, (time.time() - 3600,) * 2)
    store = JsonStore(folder)
    await store.open()
    assert files_in(folder) == [young.name]
    assert (await store.load(KEY)).document is None


async def test_a_folder_that_cannot_be_written_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "sessions", Path("/proc/sessions")):
        with pytest.raises(StartupError, match=f"session: cannot write to {folder}: ."):
            await JsonStore(folder).open()


async def test_a_closed_store_says_so(json_store: JsonStore) -> None:
    await json_store.aclose()
    with pytest.raises(SessionError, match="closed"):
        await json_store.load(KEY)


# ---- waiting for others --------------------------------------------------------------------------


async def test_waiting_for_a_lock_ends_when_it_is_cancelled(
    json_store: JsonStore, folder: Path
) -> None:
    waiting = anyio.Event()
    with hold_all_locks(folder), anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def save() -> None:
                waiting.set()
                await json_store.save(KEY, OLD, ABSENT)

            tasks.start_soon(save)
            await waiting.wait()
            await anyio.sleep(0.1)  # the wait as such cannot be seen from here
            tasks.cancel_scope.cancel()
    assert (await json_store.load(KEY)).document is None
    assert files_in(folder) == []


async def test_waiting_for_a_lock_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_agentrt._session._file_lock.TIMEOUT_S", 0.05)
    store = JsonStore(folder)
    await store.open()
    held = pytest.raises(SessionError, match="another process has held")
    with hold_all_locks(folder), anyio.fail_after(5), held:
        await store.save(KEY, OLD, ABSENT)
    assert files_in(folder) == []
    await store.save(KEY, OLD, ABSENT)


def hold_all_locks(folder: Path) -> Any:
    stack = ExitStack()
    for number in range(64):
        lock = folder / ".locks" / f"{number:02d}"
        stack.enter_context(hold_file_lock(lock, timeout_s=1, check_cancelled=lambda: None))
    return stack


# ---- expiry --------------------------------------------------------------------------------------


async def test_a_session_expires_some_time_after_its_last_use(folder: Path) -> None:
    store = JsonStore(folder, ttl_s=100)
    await store.open()
    version = await store.save(KEY, OLD, ABSENT)
    path = folder / "ann@s1.json"
    os.utime(path, (time.time() - 99,) * 2)
    assert (await store.load(KEY)).document == OLD
    assert path.stat().st_mtime > time.time() - 50  # loading is a use
    os.utime(path, (time.time() - 101,) * 2)
    with pytest.raises(SessionConflictError):
        await store.save(KEY, OLD, version)
    assert await store.load(KEY) == (None, ABSENT)
    assert files_in(folder) == []


def test_nothing_in_memory_grows_with_the_sessions_seen(folder: Path) -> None:
    files = SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None)
    files.open()
    before = {name: repr(value) for name, value in vars(files).items()}
    for number in range(100):
        files.save(SessionKey("", f"s{number}"), {}, ABSENT)
    assert {name: repr(value) for name, value in vars(files).items()} == before
    assert len(list((folder / ".locks").iterdir())) <= 64
