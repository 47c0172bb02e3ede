"""Sessions come and go, and nothing grows: neither memory nor folders, nor what one call does."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._session import ABSENT, SessionKey, Sessions, SessionStore
from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt._session._json_store import JsonStore
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt._session._session_files import SessionFiles
from asgi_agentrt._session._sweeper import Sweeper
from asgi_agentrt.exceptions import SessionError

from .doubles import DictSession, files_in

MANY = 100_000


@pytest.fixture(params=[("asyncio", {})], ids=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """One loop, and not its debug mode: what is measured is the same on both."""
    return request.param


def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without worker threads, which would take most of the time of so many calls."""

    async def run_sync(function: Any, *arguments: Any, **_: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr("anyio.to_thread.run_sync", run_sync)


async def test_a_hundred_thousand_sessions_that_expire_leave_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inline(monkeypatch)
    now = 0.0
    store = MemoryStore(ttl_s=100, now=lambda: now)
    sizes: list[int] = []
    for number in range(MANY):
        now += 0.1  # a thousand are alive at any time
        key = SessionKey("", f"session {number}")
        await store.enter(key, "run", lease_s=15)
        await store.save_in_turn(key, {"n": number}, ABSENT, "run")
        await store.leave(key, "run")
        if number % (MANY // 10) == MANY // 10 - 1:
            assert len(store._entries) <= 1001
            sizes.append(sys.getallocatedblocks())
    assert len(store._lines) == 0
    assert max(sizes) - sizes[0] < MANY / 100, sizes


@pytest.mark.parametrize("backend", ["memory", "json", "agentscope"])
async def test_calls_leave_no_memory(
    backend: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline(monkeypatch)
    inner = DictSession()
    store: SessionStore = MemoryStore(ttl_s=1e-9)
    if backend != "memory":
        store = JsonStore(folder) if backend == "json" else AgentScopeStore(inner)
    sessions = Sessions(store)
    sizes: list[int] = []
    for number in range(600):
        await call(sessions, SessionKey("", f"session {number}"))
        inner.held.clear()
        if number % 200 == 199:
            sizes.append(sys.getallocatedblocks())
    if backend == "json" and sys.version_info[:2] == (3, 12):
        # There, pathlib interns the parts of a path and interned strings are never freed: a file
        # name or two stay for each session, which no other Python does.
        sizes = [size - 3 * 200 * index for index, size in enumerate(sizes)]
    assert max(sizes) - sizes[0] < 100, sizes


async def call(sessions: Sessions, key: SessionKey) -> None:
    """Do for a session what a run does."""
    await sessions.lines.enter(key, "run", lease_s=15)
    with sessions.hold(key, "run") as hold:
        state = await hold.load_state()
        await hold.save_state({"n": state.get("n", 0) + 1, "text": "x" * 100})
    await sessions.lines.leave(key, "run")


async def test_many_that_expire_at_once_are_dropped_a_few_at_a_time() -> None:
    now = 0.0
    store = MemoryStore(ttl_s=10, now=lambda: now)
    for number in range(100):
        await store.save(SessionKey("", f"s{number}"), {}, ABSENT)
    now = 11
    # What is asked for is gone, whether it was its turn to be dropped or not.
    assert await store.load(SessionKey("", "s99")) == (None, ABSENT)
    left = len(store._entries)
    assert 50 < left < 99
    for _ in range(10):
        await store.load(SessionKey("", "other"))
    assert len(store._entries) == 0


async def test_lines_that_nobody_left_are_dropped_some_time() -> None:
    now = 0.0
    store = MemoryStore(now=lambda: now)
    for number in range(100):
        await store.enter(SessionKey("", f"s{number}"), "dead", lease_s=10)
    now = 1000
    for _ in range(60):
        await store.leave(SessionKey("", "other"), "any")
    assert len(store._lines) == 0


# ---- folders -------------------------------------------------------------------------------------


def expire(folder: Path, *names: str, seconds: float = 1000) -> None:
    for name in names:
        os.utime(folder / name, (time.time() - seconds,) * 2)


def test_expired_files_are_removed_on_the_way_to_other_things(folder: Path) -> None:
    files = SessionFiles(folder, ttl_s=0.0001 * 4, check_cancelled=lambda: None)
    files.open()
    for number in range(200):
        files.save(SessionKey("", f"s{number}"), {}, ABSENT)
    # Each save adds one and looks at more.
    assert len(files_in(folder)) < 100


def test_a_sweep_removes_what_has_expired_and_leaves_everything_else(folder: Path) -> None:
    files = SessionFiles(folder, ttl_s=100, check_cancelled=lambda: None)
    files.open()
    for name in ("old", "young", "legacy"):
        files.save(SessionKey("", name), {"n": {}}, ABSENT)
    (folder / "legacy.json").write_text("{}")
    (folder / "ann@plain.json").write_text('{"no header": 1}')
    (folder / "ann@broken.json").write_text("{")
    (folder / "notes.txt").write_text("")
    (folder / "renamed@s.json").write_bytes((folder / "@old.json").read_bytes())
    old = ["@old.json", "@legacy.json", "legacy.json", "ann@plain.json", "ann@broken.json"]
    expire(folder, *old, "notes.txt", "renamed@s.json")
    (folder / "link@s.json").symlink_to("@young.json")
    files.open()
    kept = ["@young.json", "ann@broken.json", "ann@plain.json", "notes.txt", "renamed@s.json"]
    assert [name for name in files_in(folder) if name != "link@s.json"] == kept


def test_a_sweep_does_not_wait_for_whoever_has_a_session(folder: Path) -> None:
    files = SessionFiles(folder, ttl_s=100, check_cancelled=lambda: None)
    files.save(SessionKey("", "old"), {}, ABSENT)
    expire(folder, "@old.json")
    with files._locked(SessionKey("", "old")):
        began = time.monotonic()
        files.open()
        assert time.monotonic() - began < 5
    assert files_in(folder) == ["@old.json"]
    files.open()
    assert files_in(folder) == []


def test_a_session_that_is_used_while_it_is_swept_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = SessionFiles(folder, ttl_s=100, check_cancelled=lambda: None)
    files.save(SessionKey("", "old"), {"n": {}}, ABSENT)
    expire(folder, "@old.json")
    hold = files._locks.hold

    def use_first(name: str, **options: Any) -> Any:
        os.utime(folder / "@old.json")
        return hold(name, **options)

    monkeypatch.setattr(files._locks, "hold", use_first)
    files.open()
    assert files_in(folder) == ["@old.json"]


def test_one_step_looks_at_so_many_and_passes_are_apart(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    seen: list[str] = []

    def judge(entry: os.DirEntry[str]) -> None:
        seen.append(entry.name)
        if entry.name == "7":
            raise PermissionError

    sweeper = Sweeper({tmp_path: judge, tmp_path / "missing": judge}, period_s=0)
    sweeper.step()
    assert len(seen) == 32
    for _ in range(3):
        sweeper.step()
    assert sorted(seen, key=int) == [str(number) for number in range(100)]
    sweeper.step()
    assert len(seen) == 132
    sweeper.close()
    rarely = Sweeper({tmp_path: judge}, period_s=1000)
    rarely.step()
    assert len(seen) == 132
    rarely.run()
    assert len(seen) == 232


def test_a_judge_that_fails_ends_the_pass_and_not_the_sweeping(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).touch()
    calls = 0

    def judge(_: os.DirEntry[str]) -> None:
        nonlocal calls
        calls += 1
        raise SessionError("unexpected")

    sweeper = Sweeper({tmp_path: judge}, period_s=0)
    for number in range(1, 3):
        with pytest.raises(SessionError):
            sweeper.step()
        assert calls == number
        sweeper.close()
