"""Killed writers, many processes, full and read-only disks: what was good stays readable."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import ABSENT, Sessions, Stored, open_store
from asgi_agentrt._session._json_store import JsonStore
from asgi_agentrt._session._session_files import SessionFiles
from asgi_agentrt.exceptions import SessionError, StartupError
from tests.support.process import ROOT, running
from tests.support.redis_server import RedisServer, needs_redis

from .doubles import files_in
from .writer import KEY, document

WRITER = Path(__file__).with_name("writer.py")
# A thousand take up to an hour: for whoever changes how states are written.
KILLS = int(os.environ.get("SESSION_KILLS", "32"))


@pytest.fixture
def load(folder: Path) -> Callable[[], Stored]:
    files = SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None)
    return lambda: files.load(KEY)


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_the_old_state_or_the_new(
    folder: Path, load: Callable[[], Stored]
) -> None:
    kill_writers(str(folder), load)
    # Whatever the dead left does not last.
    for path in folder.glob(".*.tmp"):
        os.utime(path, (time.time() - 3600,) * 2)
    SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None).open()
    assert files_in(folder) == ["ann@s1.json"]


@needs_redis
@pytest.mark.slow
def test_kill_9_of_who_saves_to_redis_leaves_the_old_state_or_the_new(redis: RedisServer) -> None:
    async def load() -> Stored:
        async with open_store(SessionConfig(backend="redis", url=redis.url), Path()) as store:
            return await store.load(KEY)

    kill_writers(redis.url, lambda: anyio.run(load))


def kill_writers(place: str, load: Callable[[], Stored]) -> None:
    seen_new = seen_old = 0
    with crashing_writer(place) as writer:
        assert writer.stdin
        assert writer.stdout
        for _ in range(KILLS):
            writer.stdin.write("go\n")
            writer.stdin.flush()
            saving, saved = kill_child(writer)
            stored = load()
            assert stored.document is not None
            number = stored.document["first"]["n"]
            assert stored.document == document(number)
            # What was acknowledged is there.
            assert number in (saved, saving)
            seen_old += number < saving
            seen_new += number == saving
    assert seen_old + seen_new == KILLS
    assert seen_old > 0


@contextmanager
def crashing_writer(place: str) -> Generator[subprocess.Popen[str]]:
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), "crash", place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    try:
        yield writer
    finally:
        os.killpg(writer.pid, signal.SIGKILL)
        writer.communicate(timeout=10)


def kill_child(writer: subprocess.Popen[str]) -> tuple[int, int]:
    """Kill it at a random moment; return the last number it began to save, and to have saved."""
    assert writer.stdout
    pid = saving = saved = 0
    last = random.randint(1, 2)  # let it finish so many saves first
    killed = False
    for line in writer.stdout:
        word, _, number = line.strip().partition(" ")
        if word == "dead":
            return saving, saved
        if word == "child":
            pid = int(number)
        elif word == "saving":
            saving = int(number)
        elif word == "saved":
            saved = int(number)
            last -= 1
        if pid and saving and last <= 0 and not killed:
            time.sleep(random.uniform(0, 0.08))
            os.kill(pid, signal.SIGKILL)
            killed = True
    raise AssertionError("the writer ended")


async def test_processes_that_save_one_session_lose_nothing(folder: Path) -> None:
    writers, times = 3, 15
    store = JsonStore(folder)
    await store.open()
    await store.save(KEY, {"shared": {"n": 0}, "filling": {"n": []}}, ABSENT)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            reads = 0
            done = 0

            async def write(name: str) -> None:
                nonlocal done
                command = [sys.executable, WRITER, "count", folder, name, str(times)]
                with running([str(part) for part in command]) as process:
                    assert await anyio.to_thread.run_sync(process.wait) == 0, process.output
                done += 1

            for number in range(writers):
                tasks.start_soon(write, f"w{number}")
            while done < writers:
                held, _ = await store.load(KEY)
                assert held is not None
                shared = held["shared"]["n"]
                assert held["filling"]["n"] == [shared] * (shared * 50)
                reads += 1
    held, _ = await store.load(KEY)
    assert held is not None
    assert held["shared"]["n"] == writers * times
    assert {name: held[name]["n"] for name in ("w0", "w1", "w2")} == dict.fromkeys(
        ("w0", "w1", "w2"), times
    )
    assert reads > times


async def test_a_file_that_may_not_grow_leaves_the_old_state(folder: Path) -> None:
    store = JsonStore(folder)
    await store.open()
    version = await store.save(KEY, {"n": {"is": 1}}, ABSENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(SessionError, match="cannot save the session: File too large"):
            await store.save(KEY, {"n": {"is": "x" * 2_000_000}}, version)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await store.load(KEY) == ({"n": {"is": 1}}, version)
    assert files_in(folder) == ["ann@s1.json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 256 KiB of its own; only root can have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_full_disk_leaves_the_old_state_and_recovers(small_disk: Path) -> None:
    store = JsonStore(small_disk / "sessions")
    await store.open()
    sessions = Sessions(store)
    await sessions.save_session_state("s1", memory={"n": 1})
    with pytest.raises(SessionError, match="cannot save the session: No space left on device"):
        await sessions.save_session_state("s1", memory={"n": "x" * 500_000})
    assert (sessions.state, bool(sessions.reason)) == ("down", True)
    loaded: dict[str, object] = {}
    await sessions.load_session_state("s1", memory=loaded)
    assert loaded == {"n": 1}
    await sessions.save_session_state("s1", memory={"n": 2})
    assert (sessions.state, sessions.reason) == ("up", None)


async def test_lines_need_room_on_the_disk_and_leaving_needs_none(small_disk: Path) -> None:
    store = JsonStore(small_disk / "sessions")
    await store.open()
    sessions = Sessions(store)
    await sessions.lines.enter(KEY, "run", lease_s=60)
    filling = small_disk / "filling"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(SessionError, match="cannot enter the line of the session: No space left"):
        await sessions.lines.enter(KEY, "next", lease_s=60)
    # Who is in the line keeps his place.
    assert (await sessions.lines.enter(KEY, "other", lease_s=60, only_if_free=True)).head == "run"
    await sessions.lines.leave(KEY, "run")
    filling.unlink()
    assert (await sessions.lines.enter(KEY, "next", lease_s=60)).position == 0


async def test_a_read_only_disk_is_named_at_start_and_can_still_be_read(small_disk: Path) -> None:
    store = JsonStore(small_disk / "sessions")
    await store.open()
    version = await store.save(KEY, {"n": {"is": 1}}, ABSENT)
    await anyio.run_process(["mount", "-o", "remount,ro", str(small_disk)])
    with pytest.raises(SessionError, match="Read-only file system"):
        await store.save(KEY, {"n": {"is": 2}}, version)
    assert await store.load(KEY) == ({"n": {"is": 1}}, version)
    with pytest.raises(StartupError, match=r"cannot write to .*: Read-only file system"):
        await JsonStore(small_disk / "sessions").open()


async def test_a_save_of_5_mb_does_not_hold_up_the_event_loop(folder: Path) -> None:
    text = "Lorem ipsum dolor sit amet " * 20
    messages = [
        [{"id": str(n), "name": "u", "content": [{"type": "text", "text": text}]}, []]
        for n in range(8000)
    ]
    store = JsonStore(folder)
    await store.open()
    sessions = Sessions(store)
    longest: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await anyio.sleep(0.001)
            longest[-1] = max(longest[-1], time.perf_counter() - before)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            longest.append(0)
            tasks.start_soon(tick)
            for number in range(5):
                longest.append(0)
                memory = {"content": messages, "number": number}
                await sessions.save_session_state("big", memory=memory)
            tasks.cancel_scope.cancel()
    assert (folder / "@big.json").stat().st_size > 4_500_000
    # The best of five, since the machine may be busy otherwise.
    assert min(longest[1:]) < 0.1, longest
