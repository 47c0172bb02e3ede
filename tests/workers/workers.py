"""Worker processes of one app: uvicorns, which a test kills, pauses and starts again."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager

from tests.support.process import UVICORN_READY, Process
from tests.support.redis_server import free_port
from tests.workers.places import Place


class Worker:
    """A process that serves `tests.workers.served`, always at the same address.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, place: Place) -> None:
        port = free_port(below=30_000)  # not one that the system gives to clients meanwhile
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            *(sys.executable, "-m", "uvicorn", "tests.workers.served:app"),
            *("--port", str(port), "--no-access-log", "--no-use-colors"),
        ]
        self._env = {"WORKER_SESSION": json.dumps(place.section)}
        self._process: Process | None = None

    def start(self) -> None:
        """Start it; `wait_ready` waits for it."""
        self._process = Process(self._command, env=self._env)

    def wait_ready(self) -> None:
        """Wait until it listens."""
        self.process.expect(UVICORN_READY, limit_s=60)

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """End it as the system does that runs out of memory."""
        self.process.send(signal.SIGKILL)
        self.process.wait()
        self.process.close()

    def pause(self) -> None:
        """Take the processor away from it."""
        self.process.send(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self.process.send(signal.SIGCONT)

    def close(self) -> None:
        """End it, whatever state it is in; never raises."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.send(signal.SIGCONT)
            self._process.close()


@contextmanager
def open_workers(place: Place, count: int) -> Generator[list[Worker]]:
    """Run workers for the length of the block."""
    workers = [Worker(place) for _ in range(count)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_ready()
        yield workers
    except Exception as error:
        for worker in workers:
            error.add_note(f"{worker.url} said last: {worker.process.output[-2000:]}")
        raise
    finally:
        for worker in workers:
            worker.close()
