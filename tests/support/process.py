"""Real programs as subprocesses, with a limit on every wait and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What servers say once they listen; the group is the address, with the port they were given for 0.
UVICORN_READY = r"Uvicorn running on (http://\S+:\d+)"
HYPERCORN_READY = r"Running on (http://\S+:\d+)"
GUNICORN_READY = r"Listening at: (http://\S+:\d+)"


class Process:
    """A running program; `output` is what it has written so far, both streams together.

    It runs in a process group of its own, so that what it started can be ended with it. Waits
    block the thread: a test whose own event loop serves the program calls them in a worker thread.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        # The sources first: what is tested is what lies here, installed or not.
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._command = [str(part) for part in command]
        self._lines: list[str] = []
        self._news = threading.Condition(threading.RLock())
        self._ended = False
        self._process = subprocess.Popen(
            self._command,
            cwd=cwd or ROOT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        with self._news:
            return "".join(self._lines)

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        return self._process.poll()

    def expect(self, pattern: str, *, limit_s: float = 30) -> re.Match[str]:
        """Wait until the output matches.

        Raises:
            AssertionError: it ended, or the time ran out, before that; shows the output.
        """
        deadline = time.monotonic() + limit_s
        with self._news:
            while not (found := re.search(pattern, "".join(self._lines))):
                left = deadline - time.monotonic()
                if self._ended:
                    raise AssertionError(self._report(f"ended before it said {pattern!r}"))
                if left <= 0:
                    raise AssertionError(self._report(f"said no {pattern!r} within {limit_s:g} s"))
                self._news.wait(left)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program, not to what it started."""
        self._process.send_signal(number)

    def wait(self, *, limit_s: float = 15) -> int:
        """Wait for its end and return the exit code.

        Raises:
            AssertionError: it runs on after the limit; shows the output.
        """
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self._report(f"still runs after {limit_s:g} s")) from None
        self._reader.join(limit_s)
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, *, limit_s: float = 15) -> int:
        """Ask it to end, and return the exit code.

        Raises:
            AssertionError: it did not end within the limit; shows the output.
        """
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self.wait(limit_s=limit_s)

    def close(self, *, grace_s: float = 5) -> None:
        """End it and what it started, by force after `grace_s` seconds; never raises."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        # Its group, which it leads: also children that outlived it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _report(self, what: str) -> str:
        return f"{' '.join(self._command)} {what}\nexit code {self.returncode}\n{self.output}"


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    grace_s: float = 5,
) -> Generator[Process]:
    """Run a program for the length of the block."""
    process = Process(command, cwd=cwd, env=env)
    try:
        yield process
    finally:
        process.close(grace_s=grace_s)


@contextlib.contextmanager
def uvicorn(
    app: str,
    *options: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    limit_s: float = 60,
) -> Generator[tuple[Process, str]]:
    """Serve `module:app` with uvicorn on a port of the system's choice; yields process and URL."""
    command = [sys.executable, "-m", "uvicorn", app, "--port", "0", "--no-use-colors", *options]
    with running(command, cwd=cwd, env=env) as process:
        yield process, process.expect(UVICORN_READY, limit_s=limit_s)[1]
