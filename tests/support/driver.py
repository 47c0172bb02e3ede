"""An ASGI client in the same process that sees an answer part by part and may leave at any time.

Every wait has a limit, so a test that would hang fails instead. It runs on asyncio and on trio.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from asgi_agentrt._server import AgentRuntimeASGI
from asgi_agentrt._types import ASGIApp, Message

# How long anything may take that a test waits for; generous, since machines are shared.
LIMIT_S = 10.0

JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True)
class Frame:
    """One event of a stream, as it stood on the wire; a comment has no number."""

    number: int | None
    text: str

    @property
    def body(self) -> Any:
        """The JSON of an event."""
        return json.loads(self.text)


@dataclass
class Request:
    """What a client sends; `parts` are the pieces that its body comes in."""

    parts: list[bytes] = field(default_factory=lambda: [b""])
    method: str = "POST"
    path: str = "/invoke"
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON_HEADERS))
    extra: Mapping[str, Any] = field(default_factory=dict)

    def scope(self) -> dict[str, Any]:
        """The ASGI scope, as uvicorn makes it."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode("utf-8", "surrogateescape"),
            "root_path": "",
            "query_string": b"",
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
                for name, value in self.headers.items()
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 80),
            "state": {},
            **self.extra,
        }


def invocation(
    session_id: str = "s1",
    content: object = "hello",
    *,
    accept: str | None = None,
    **fields: object,
) -> Request:
    """Return a correct request for `POST /invoke`."""
    body = {"session_id": session_id, "message": {"content": content}, **fields}
    headers = {**JSON_HEADERS, **({"accept": accept} if accept else {})}
    return Request([json.dumps(body).encode()], headers=headers)


def get(path: str) -> Request:
    """Return a GET request."""
    return Request(method="GET", path=path, headers={})


class Exchange:
    """One request and what comes back, seen from the client and from the server between them.

    It behaves as uvicorn does: `receive()` gives the body, then waits until the client leaves;
    what is sent after that is dropped. A test changes that by overriding `receive` and `send`.

    Attributes:
        sent: Every message that the app has sent, in order.
        error: What the app raised.
        has_left: Whether the client has gone.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.sent: list[Message] = []
        self.error: BaseException | None = None
        self.has_left = False
        self._parts = list(request.parts)
        self._left = anyio.Event()
        self._news = anyio.Event()
        self._ended = anyio.Event()
        self._may_send = anyio.Event()
        self._may_send.set()
        self._frames_taken = 0

    # ---- the server's side -------------------------------------------------------------------

    async def receive(self) -> Message:
        """Give the app the next part of the request."""
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message from the app, once the client reads."""
        await self._may_send.wait()
        if not self.has_left:
            self.sent.append(message)
            self._notify()

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer; what it raises is kept."""
        try:
            await app(self.request.scope(), self.receive, self.send)
        except Exception as error:  # noqa: BLE001  raised again where the request was made
            self.error = error
        finally:
            self._ended.set()
            self._notify()

    def _notify(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    # ---- the client's side -------------------------------------------------------------------

    def leave(self) -> None:
        """Close the connection."""
        self.has_left = True
        self._left.set()
        self._may_send.set()

    def stop_reading(self) -> None:
        """Let the app's next `send()` wait until `read_on`."""
        self._may_send = anyio.Event()

    def read_on(self) -> None:
        """Read again."""
        self._may_send.set()

    @property
    def is_over(self) -> bool:
        """Whether the app has returned."""
        return self._ended.is_set()

    async def ended(self) -> None:
        """Wait until the app has returned."""
        with anyio.fail_after(LIMIT_S):
            await self._ended.wait()

    async def started(self) -> None:
        """Wait for the head of the answer."""
        await self._until(lambda: bool(self.sent))

    @property
    def status(self) -> int:
        """The status of the answer."""
        status: int = self._head()["status"]
        return status

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers; none may come twice."""
        pairs = [(name.decode(), value.decode()) for name, value in self._head()["headers"]]
        assert len(dict(pairs)) == len(pairs), f"a header came twice: {pairs}"
        return dict(pairs)

    @property
    def parts(self) -> list[bytes]:
        """The bodies of the sends that had one."""
        return [message["body"] for message in self.sent[1:] if message.get("body")]

    @property
    def content(self) -> bytes:
        """What has come of the body."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def json(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.content)

    @property
    def error_code(self) -> str:
        """The code of a JSON error."""
        code: str = self.json["error"]["code"]
        return code

    @property
    def is_complete(self) -> bool:
        """Whether the answer was ended, as the protocol wants."""
        return len(self.sent) > 1 and not self.sent[-1].get("more_body", False)

    @property
    def frames(self) -> list[Frame]:
        """Events and comments that have come as a whole."""
        return parse_frames(self.content[: self.content.rfind(b"\n\n") + 2])

    @property
    def events(self) -> list[Frame]:
        """Events that have come as a whole."""
        return [frame for frame in self.frames if frame.number is not None]

    async def next_frame(self) -> Frame:
        """Wait for the next event or comment."""
        await self._until(lambda: len(self.frames) > self._frames_taken)
        self._frames_taken += 1
        return self.frames[self._frames_taken - 1]

    async def next_event(self) -> Any:
        """Wait for the next event and return its JSON; comments are skipped."""
        while (frame := await self.next_frame()).number is None:
            pass
        return frame.body

    async def _until(self, is_there: Any) -> None:
        with anyio.fail_after(LIMIT_S):
            while not is_there():
                if self.is_over:
                    raise AssertionError(f"it ended without: {self.sent} {self.error!r}")
                await self._news.wait()

    def _head(self) -> Message:
        head = self.sent[0]
        assert head["type"] == "http.response.start"
        return head


def parse_frames(stream: bytes) -> list[Frame]:
    """Read a whole stream, insisting on every byte of the form that we promise."""
    assert b"\r" not in stream
    assert stream.endswith(b"\n\n") or not stream
    frames = []
    for block in stream.decode("utf-8").split("\n\n")[:-1]:
        first, *rest = block.split("\n")
        if first.startswith(": "):
            assert not rest, block
            frames.append(Frame(None, first[2:]))
        else:
            [second] = rest
            assert first.startswith("id: "), block
            assert second.startswith("data: "), block
            frames.append(Frame(int(first[4:]), second[6:]))
    return frames


@asynccontextmanager
async def open_stream(
    app: ASGIApp, request: Request | None = None, *, exchange: Exchange | None = None
) -> AsyncGenerator[Exchange]:
    """Send a request; leaving the block closes the connection and waits for the app to return.

    Args:
        app: Any ASGI app.
        request: What to send; an invocation by default.
        exchange: A server that behaves differently, in place of `request`.
    """
    if exchange is None:
        exchange = Exchange(invocation() if request is None else request)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, app)
        try:
            yield exchange
        finally:
            exchange.leave()
            with anyio.CancelScope(shield=True):
                await exchange.ended()
    if exchange.error is not None:
        raise exchange.error


async def call(app: ASGIApp, request: Request | None = None) -> Exchange:
    """Send a request and return the finished exchange."""
    async with open_stream(app, request) as exchange:
        await exchange.ended()
    assert exchange.is_complete, exchange.sent
    return exchange


@asynccontextmanager
async def serving(
    app: object, *, session: Mapping[str, Any] | None = None, **server: Any
) -> AsyncGenerator[AgentRuntimeASGI]:
    """Serve an app function with sessions in memory; keywords are keys of `server:`."""
    config = {"session": {"backend": "memory", **(session or {})}, "server": server}
    agent = AgentRuntimeASGI(app=app, config=config, platform=False)
    async with agent.lifespan():
        yield agent


async def until(is_so: Callable[[], object]) -> None:
    """Wait for what nobody announces, such as the end of a run without listeners."""
    with anyio.fail_after(LIMIT_S):
        while not is_so():  # noqa: ASYNC110
            await anyio.sleep(0.001)


async def no_runs(agent: AgentRuntimeASGI) -> None:
    """Wait until no run is left."""
    await until(lambda: len(agent.runtime.runs) == 0)


def texts(events: Iterable[Frame]) -> list[Any]:
    """The contents of the messages among the events, without the last."""
    return [event.body["content"] for event in events if "content" in event.body][:-1]
