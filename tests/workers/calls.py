"""One call of a worker, as a stream that a test reads event by event."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx

from tests.workers.clients import message
from tests.workers.workers import Worker

LIMIT_S = 20.0


class Call:
    """A stream that has begun; every wait has a limit."""

    def __init__(self, answer: httpx.Response) -> None:
        self.run_id = answer.headers["x-run-id"]
        self.events: list[Any] = []
        self._lines: AsyncIterator[str] = answer.aiter_lines()

    async def next(self) -> Any:
        """Return the next event."""
        with anyio.fail_after(LIMIT_S):
            async for line in self._lines:
                if line.startswith("data: "):
                    self.events.append(json.loads(line.removeprefix("data: ")))
                    return self.events[-1]
        raise AssertionError(f"the stream ended after {self.events}")

    async def error(self) -> Any:
        """Read to the end, which must be that of a run that failed, and return why it did."""
        while "done" not in (await self.next()).get("metadata", {}):
            pass
        assert self.events[-1]["metadata"] == {"done": True, "error": True}, self.events
        return self.events[-2]["error"]

    async def end(self) -> None:
        """Read to the end, which must be a good one."""
        while "done" not in (await self.next()).get("metadata", {}):
            pass
        assert self.events[-1]["metadata"] == {"done": True}, self.events


class Gate:
    """A file that a turn waits for, so that it holds its session until a test lets it go."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def content(self, token: str) -> str:
        """Return what makes a turn wait."""
        return f"{token} {self._path}"

    def open(self) -> None:
        """Let it go."""
        self._path.touch()


@asynccontextmanager
async def calling(
    worker: Worker, session_id: str, content: str, *, setting: str = "queue"
) -> AsyncGenerator[Call]:
    """Begin a call; leaving the block closes the connection."""
    async with (
        httpx.AsyncClient(timeout=LIMIT_S) as http,
        http.stream(
            "POST", f"{worker.url}/{setting}/invoke", json=message(session_id, content)
        ) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        yield Call(answer)


async def ask(
    worker: Worker, session_id: str, content: str, *, setting: str = "queue"
) -> httpx.Response:
    """Make a call and return the whole answer."""
    async with httpx.AsyncClient(timeout=LIMIT_S) as http:
        return await http.post(
            f"{worker.url}/{setting}/invoke",
            json=message(session_id, content),
            headers={"accept": "application/json"},
        )


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what happens in another process."""
    deadline = time.monotonic() + LIMIT_S
    while not await is_so():
        assert time.monotonic() < deadline
        await anyio.sleep(0.02)
