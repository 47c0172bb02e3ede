"""Real Redis servers of the tests' own, on a socket file or on a free port of the loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(
    SERVER is None or importlib.util.find_spec("redis") is None,
    reason="needs redis-server and redis-py",
)


def free_port(*, below: int = 65_536) -> int:
    """Return a port of the loopback that nobody listens on."""
    for port in random.sample(range(20_000, below), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


class RedisServer:
    """A Redis server; it can be killed and started again at the same place.

    Nothing is kept on the disk unless `options` say so.

    Args:
        options: Options of `redis-server`, after those that make it private.
    """

    def __init__(self, *options: str) -> None:
        # Short: the path of a socket may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="redis", dir="/tmp"))
        self.socket = self.folder / "s"
        self.url = f"unix://{self.socket}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, limit_s: float = 20) -> None:
        """Start it, and wait until it answers."""
        assert SERVER is not None
        private = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            command = [SERVER, *private, "--save", "", *self._options]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + limit_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        """End it and remove what it wrote."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                # A server that reads its files, or wants a password, answers with an error.
                return client.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@contextlib.contextmanager
def redis_server(options: Sequence[str] = ()) -> Generator[RedisServer]:
    """Run a Redis server for the length of the block."""
    server = RedisServer(*options)
    try:
        server.start()
        yield server
    finally:
        server.close()
