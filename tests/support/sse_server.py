"""A server that answers POST requests with the bytes a test gives it, piece by piece."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Script:
    """The answer to every request, and the requests so far.

    A piece that is an `Event` holds the rest back until it is set. Without `ends` the connection
    is cut before the answer's end.
    """

    pieces: list[bytes | threading.Event] = field(default_factory=list[bytes | threading.Event])
    status: int = 200
    headers: Mapping[str, str] = field(
        default_factory=lambda: {"Content-Type": "text/event-stream", "X-Run-Id": "run-7"}
    )
    ends: bool = True
    requests: list[tuple[str, Mapping[str, str], Any]] = field(
        default_factory=list[tuple[str, Mapping[str, str], Any]]
    )
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        script = self.server.script
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        script.requests.append((self.path, headers, body))
        self.send_response(script.status)
        for name, value in script.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        for piece in script.pieces:
            if isinstance(piece, threading.Event):
                piece.wait(10)
            else:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if script.ends:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def open_script() -> Iterator[Script]:
    script = Script()
    server = _Server(script)
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
