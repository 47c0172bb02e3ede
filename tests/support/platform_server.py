"""A platform on a real socket that answers what a test tells it to, nonsense included."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True)
class Answer:
    """How one request is answered.

    `ending` says what happens to the connection: a whole answer; a body cut off half-way; a reset
    before the first byte; headers and then silence; a byte now and then, without end.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    ending: Literal["whole", "half", "reset", "silence", "drip"] = "whole"


def says(value: object) -> Answer:
    return Answer(body=json.dumps(value).encode())


NOTHING_NEW = says({"updated": False})
RELOAD = says({"updated": True, "action": "reload"})
RESTART = says({"updated": True, "action": "restart"})


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class PlatformServer:
    """Keeps every request; answers heartbeats and config checks from two queues.

    An empty queue stands for a platform in good health that wants nothing.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.on_heartbeat: deque[Answer] = deque()
        self.on_config: deque[Answer] = deque()
        self.closing = threading.Event()
        self.url = ""

    @property
    def beats(self) -> list[Any]:
        return [request.json for request in self.received if request.method == "POST"]

    @property
    def checks(self) -> list[Received]:
        return [request for request in self.received if request.method == "GET"]

    def answer_to(self, request: Received) -> Answer:
        self.received.append(request)
        queue = self.on_heartbeat if request.method == "POST" else self.on_config
        return queue.popleft() if queue else NOTHING_NEW


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(self.command, self.path, headers, body)
        answer = self.server.platform.answer_to(request)
        try:
            self._answer(answer)
        except OSError:
            self.close_connection = True  # the client has had enough

    def _answer(self, answer: Answer) -> None:
        self.close_connection = answer.ending != "whole"
        if answer.ending == "reset":
            self.server.to_reset.add(self.connection)
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if answer.ending == "whole":
            self.wfile.write(answer.body)
        elif answer.ending == "half":
            self.wfile.write(answer.body[: len(answer.body) // 2])
        else:
            self._keep_waiting(byte=b" " if answer.ending == "drip" else b"")

    def _keep_waiting(self, *, byte: bytes) -> None:
        while not self.server.platform.closing.wait(0.02):
            self.wfile.write(byte)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, platform: PlatformServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.platform = platform
        self.to_reset: set[socket.socket] = set()

    def shutdown_request(self, request: Any) -> None:
        if request in self.to_reset:
            linger = struct.pack("ii", 1, 0)
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what half of the tests are about."""


@contextmanager
def open_platform() -> Iterator[PlatformServer]:
    platform = PlatformServer()
    server = _Server(platform)
    platform.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield platform
    finally:
        platform.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
