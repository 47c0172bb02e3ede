"""An HTTP client that sees every byte, and sends whichever it likes."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

LIMIT_S = 15.0


@dataclass(frozen=True)
class Head:
    """The head of an answer; header names as they came."""

    line: str
    headers: list[tuple[str, str]]

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    def __getitem__(self, name: str) -> str:
        [value] = [value for key, value in self.headers if key.lower() == name]
        return value

    def __contains__(self, name: str) -> bool:
        return any(key.lower() == name for key, _ in self.headers)


class Wire:
    """A connection; every read is bounded in time."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        parts = urlsplit(url)
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect((parts.hostname, parts.port))
        self._read = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        """Read up to `end`, which is part of what is returned."""
        while end not in self._read:
            self._more()
        place = self._read.index(end) + len(end)
        found, self._read = self._read[:place], self._read[place:]
        return found

    def exactly(self, count: int) -> bytes:
        while len(self._read) < count:
            self._more()
        found, self._read = self._read[:count], self._read[count:]
        return found

    def to_the_end(self) -> bytes:
        """Read until the server closes."""
        while data := self._socket.recv(65536):
            self._read += data
        found, self._read = self._read, b""
        return found

    def head(self) -> Head:
        raw = self.until(b"\r\n\r\n").decode("latin-1")
        line, *rest = raw[:-4].split("\r\n")
        return Head(line, [(pair.split(": ", 1)[0], pair.split(": ", 1)[1]) for pair in rest])

    def chunk(self) -> bytes:
        """Read one chunk; the last one is empty."""
        size = int(self.until(b"\r\n")[:-2], 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def chunks(self) -> bytes:
        """Read a chunked body to its end."""
        body = b""
        while data := self.chunk():
            body += data
        return body

    def body(self, head: Head) -> bytes:
        if "content-length" in head:
            return self.exactly(int(head["content-length"]))
        return self.chunks() if "transfer-encoding" in head else self.to_the_end()

    def reset(self) -> None:
        """Close with a RST, as a crashed or impatient peer does."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def _more(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise AssertionError(f"the server closed; unread: {self._read!r}")
        self._read += data


@contextmanager
def wire(url: str, *, receive_buffer: int | None = None) -> Generator[Wire]:
    """Connect for the length of the block."""
    connection = Wire(url, receive_buffer=receive_buffer)
    try:
        yield connection
    finally:
        connection.close()


def body_of(session_id: str, content: object) -> bytes:
    return json.dumps({"session_id": session_id, "message": {"content": content}}).encode()


def post(
    body: bytes, *headers: str, path: str = "/invoke", version: str = "1.1", length: bool = True
) -> bytes:
    """Write a POST request."""
    lines = [f"POST {path} HTTP/{version}", "Host: x", "Content-Type: application/json", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def bare(method: str, path: str, *headers: str) -> bytes:
    """Write a request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()
