from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from asgi_agentrt._cli import main
from tests.support.sse_server import Script, open_script

ROOT = Path(__file__).parents[2]
LIMIT_S = 20


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Process:
    """`python -m asgi_agentrt …`; killed if it is still there after `LIMIT_S` seconds."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asgi_agentrt", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._log = ""
        self._watchdog = threading.Timer(LIMIT_S, self._process.kill)
        self._watchdog.start()

    def read(self, length: int) -> str:
        """Return the next characters of its output, once it has written them."""
        assert self._process.stdout is not None
        return self._process.stdout.read(length)

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def log_until(self, text: str) -> None:
        """Read the log up to the first line that holds `text`."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log += line
            if text in line:
                return
        raise AssertionError(f"{text!r} is not in the log: {self._log}")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> Outcome:
        """Wait for its end; the output is what was not read before."""
        try:
            out, err = self._process.communicate(timeout=LIMIT_S + 5)
        finally:
            self.close()
        return Outcome(self._process.returncode, out, self._log + err)

    def close(self) -> None:
        self._watchdog.cancel()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


Agentrt: TypeAlias = Callable[..., Outcome]
Spawn: TypeAlias = Callable[..., Process]


@pytest.fixture
def agentrt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Agentrt:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Outcome:
        try:
            code = main(arguments)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else -1
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    """Start a command in a process of its own, in an empty folder."""
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(*arguments, cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def script() -> Iterator[Script]:
    with open_script() as opened:
        yield opened
