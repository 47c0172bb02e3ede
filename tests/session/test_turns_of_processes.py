"""Processes that share a store: who is killed or stopped gives way, and saves nothing any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue

import pytest

from tests.support.process import ROOT
from tests.support.redis_server import RedisServer, needs_redis

pytestmark = pytest.mark.slow
WRITER = Path(__file__).with_name("writer.py")
LEASE_S = 3.0
# The machine may be busy otherwise.
SLACK_S = 2.0


@pytest.fixture(params=["json", pytest.param("redis", marks=needs_redis)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "json":
        return str(tmp_path / "sessions")
    server: RedisServer = request.getfixturevalue("redis")
    subprocess.run(
        ["redis-cli", "-s", server.socket, "FLUSHALL"], check=True, stdout=subprocess.DEVNULL
    )
    return server.url


class Holder:
    """A process that is in the line of the session, or has its turn."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.turn = ""
        self._said: Queue[str] = Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put(line.strip())

    def hear(self, limit_s: float = 20) -> str:
        """Return the next line that it says."""
        return self._said.get(timeout=limit_s)

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def ask(self, text: str) -> str:
        self.tell(text)
        return self.hear()


@contextmanager
def in_line(place: str, *tickets: tuple[str, float]) -> Generator[list[Holder]]:
    """Processes that entered the line in this order; the first one has the turn."""
    with ExitStack() as stack:
        holders: list[Holder] = []
        for position, (ticket, lease_s) in enumerate(tickets):
            holder = stack.enter_context(holding(place, ticket, lease_s))
            assert holder.hear() == f"entered {position}"
            if not holders:
                holder.turn = holder.hear()
            # The first one cannot renew by itself; the others do while they wait.
            for waiting in holders[:1]:
                assert waiting.ask("renew") == "position 0"
            holders.append(holder)
        yield holders


@contextmanager
def holding(place: str, ticket: str, lease_s: float) -> Generator[Holder]:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), "hold", place, ticket, str(lease_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield Holder(process)
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_the_next_has_its_turn_when_the_lease_of_a_killed_process_ends(place: str) -> None:
    with in_line(place, ("first", LEASE_S), ("next", 60)) as (first, following):
        assert first.ask("save 1") == "saved 1"
        assert first.ask("renew") == "position 0"
        killed_at = time.monotonic()
        first.process.send_signal(signal.SIGKILL)
        assert following.hear() == "turn 1"
        assert LEASE_S * 0.7 < time.monotonic() - killed_at < LEASE_S + SLACK_S
        assert following.ask("save 2") == "saved 2"
        assert following.ask("leave") == "left"


def test_the_next_has_its_turn_at_once_when_a_process_leaves(place: str) -> None:
    with in_line(place, ("first", 60), ("next", 60)) as (first, following):
        began = time.monotonic()
        assert first.ask("leave") == "left"
        assert following.hear() == "turn None"
        assert time.monotonic() - began < SLACK_S


@pytest.mark.parametrize("successor", ["is at it", "has saved and left", "has left"])
def test_a_process_that_was_stopped_too_long_saves_nothing(place: str, successor: str) -> None:
    with in_line(place, ("zombie", LEASE_S), ("next", 60)) as (zombie, following):
        assert zombie.ask("save 1") == "saved 1"
        zombie.process.send_signal(signal.SIGSTOP)
        assert following.hear() == "turn 1"
        if successor == "has saved and left":
            assert following.ask("save 2") == "saved 2"
        if successor != "is at it":
            assert following.ask("leave") == "left"
        zombie.process.send_signal(signal.SIGCONT)
        assert zombie.ask("renew") == "position None"
        if successor == "has left":
            # Nobody saved anything since, and nobody is at it: there is nothing to protect.
            assert zombie.ask("save 9") == "saved 9"
            return
        for _ in range(2):
            assert zombie.ask("save 9") == "refused 9"
        if successor == "is at it":
            assert following.ask("save 2") == "saved 2"
            assert following.ask("leave") == "left"
        with in_line(place, ("last", 60)) as (last,):
            assert last.turn == "turn 2"


def test_a_process_that_was_stopped_while_nobody_came_goes_on(place: str) -> None:
    with in_line(place, ("slow", 0.1)) as (slow,):
        slow.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)  # longer than the lease
        slow.process.send_signal(signal.SIGCONT)
        assert slow.ask("renew") == "position 0"
        assert slow.ask("save 1") == "saved 1"


def test_processes_have_their_turns_one_at_a_time_in_order(place: str) -> None:
    with in_line(place, ("a", 60), ("b", 60), ("c", 60)) as (a, b, c):
        for number, (holder, following) in enumerate([(a, b), (b, c)]):
            assert holder.ask(f"save {number}") == f"saved {number}"
            assert holder.ask("leave") == "left"
            assert following.hear() == f"turn {number}"
