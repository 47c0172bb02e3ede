"""Servers and clients for the tests of hosting."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.process import Process, running

SITE = Path(__file__).parent / "site"
BIN = Path(sys.executable).parent
DRAIN_S = 0.3


@dataclass(frozen=True)
class Server:
    """A server's command line and habits.

    Attributes:
        ready: What it says once connections to its port are accepted, or queued.
        has_lifespan: Whether it tells an app that it starts and stops.
        tells_signals: Whether the process that serves gets a signal to stop.
        exit_code: What it ends with after SIGTERM.
    """

    name: str
    command: str
    ready: str
    has_lifespan: bool = True
    tells_signals: bool = True
    exit_code: int = 0

    def arguments(self, port: int) -> list[str]:
        program, *rest = self.command.format(port=port).split()
        return [str(BIN / program), *rest]


_HYPERCORN = "hypercorn hosts:app -b 127.0.0.1:{port}"
_GUNICORN = "gunicorn hosts:app -b 127.0.0.1:{port}"
SERVERS = {
    server.name: server
    for server in (
        Server(
            "uvicorn",
            "uvicorn hosts:app --port {port}",
            "Uvicorn running on",
            exit_code=-signal.SIGTERM,
        ),
        Server("hypercorn", _HYPERCORN, "Running on", tells_signals=False),
        Server("hypercorn -w 0", f"{_HYPERCORN} -w 0", "Running on"),
        Server("hypercorn -k trio", f"{_HYPERCORN} -k trio", "Running on", tells_signals=False),
        Server("granian", "granian hosts:app --interface asgi --port {port}", "Started worker-1"),
        Server(
            "daphne",
            "daphne hosts:app -p {port}",
            "Listening on TCP address",
            has_lifespan=False,
        ),
        Server("gunicorn asgi", f"{_GUNICORN} -k asgi", "Listening at"),
        Server("gunicorn uvicorn", f"{_GUNICORN} -k uvicorn_worker.UvicornWorker", "Listening at"),
    )
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(
    server: Server, hosting: str, *options: str, env: dict[str, str] | None = None, **settings: Any
) -> Generator[tuple[Process, httpx.Client]]:
    """Serve one way of hosting; yields the process and a client of its address.

    Args:
        server: Which server.
        hosting: The name of a `make_*` of the site.
        options: More for the server's command line.
        env: More environment variables.
        settings: Keys of the section `server`.
    """
    port = free_port()
    settings = {"drain_timeout": DRAIN_S, **settings}
    more = {"HOSTING": hosting, "SERVER": json.dumps(settings), **(env or {})}
    paths = os.pathsep.join(filter(None, (str(SITE), os.environ.get("PYTHONPATH"))))
    command = [*server.arguments(port), *options]
    os_environ = {"PYTHONPATH": os.pathsep.join((str(SITE.parents[2]), paths)), **more}
    with (
        running(command, cwd=SITE, env=os_environ) as process,
        # Granian says that it has started a little before its port is open.
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=15,
            transport=httpx.HTTPTransport(retries=5, trust_env=False),
        ) as client,
    ):
        process.expect(re.escape(server.ready), limit_s=30)
        yield process, client


def body(text: str, session_id: str = "s1") -> dict[str, Any]:
    return {"session_id": session_id, "message": {"role": "user", "content": text}}


def said(client: httpx.Client, path: str, text: str = "who") -> str:
    """Call an agent and return what it said."""
    answer = client.post(path, json=body(text))
    assert answer.status_code == 200, answer.text
    *messages, done = list(events(answer.iter_lines()))
    assert done["metadata"] == {"done": True}
    return "".join(message["content"] for message in messages)


def events(lines: Iterator[str]) -> Iterator[Any]:
    """Read the data of events as they come; a stream that is cut off just ends."""
    try:
        for line in lines:
            if line.startswith("data: "):
                yield json.loads(line[6:])
    except httpx.RemoteProtocolError:
        return


@contextmanager
def stream(client: httpx.Client, path: str, session_id: str = "s1") -> Generator[Iterator[Any]]:
    """Call an agent that falls silent after its first word; leaving the block disconnects."""
    with client.stream("POST", path, json=body("hang", session_id)) as answer:
        assert answer.status_code == 200, answer.read()
        coming = events(answer.iter_lines())
        assert next(coming)["content"] == "begun"
        yield coming
