"""Clients of many workers: each calls one after the other, and calls again what failed."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import anyio
import httpx

from tests.workers.history import Answered, History

# Longer than any lease and line in these tests: who waits so long hangs.
ANSWER_LIMIT_S = 60.0
PAUSE_S = 0.05


def message(session_id: str, content: str) -> dict[str, Any]:
    """Return the body of an invocation."""
    return {"session_id": session_id, "message": {"content": content}}


class Clients:
    """Tasks that call sessions at random, through any worker, until they are told to stop.

    A call whose connection breaks, or whose answer is an error, is made again under another token:
    whether the first one has been saved is not known.

    Args:
        urls: The workers' addresses.
        sessions: The sessions to call.
        seed: Of the random choices.
    """

    def __init__(self, urls: Sequence[str], sessions: Sequence[str], *, seed: int) -> None:
        self.history = History()
        self.is_over = False
        self._urls = urls
        self._sessions = sessions
        self._seed = seed

    async def run(self, count: int) -> None:
        """Let so many clients call until `is_over` is set; each finishes what it began."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=count)
        async with (
            httpx.AsyncClient(timeout=ANSWER_LIMIT_S, limits=limits) as http,
            anyio.create_task_group() as tasks,
        ):
            for number in range(count):
                tasks.start_soon(self._call_on, http, number)

    async def _call_on(self, http: httpx.AsyncClient, number: int) -> None:
        chance = random.Random(self._seed * 1000 + number)
        turn = 0
        while not self.is_over:
            turn += 1
            session_id, attempt = chance.choice(self._sessions), 0
            gives_up_at = time.monotonic() + ANSWER_LIMIT_S
            while not await self._call(
                http, chance.choice(self._urls), session_id, f"{number}.{turn}.{attempt}"
            ):
                assert time.monotonic() < gives_up_at, f"nobody answers: {self.history.failures}"
                attempt += 1
                await anyio.sleep(chance.uniform(0, 2 * PAUSE_S))

    async def _call(self, http: httpx.AsyncClient, url: str, session_id: str, token: str) -> bool:
        """Make one call; return whether it was acknowledged."""
        self.history.sent(session_id, token)
        began_at = time.monotonic()
        try:
            answer = await http.post(
                f"{url}/queue/invoke",
                json=message(session_id, token),
                headers={"accept": "application/json"},
            )
        except httpx.TransportError as error:
            self.history.failures[type(error).__name__] += 1
            return False
        ended_at = time.monotonic()
        body = answer.json()
        if answer.status_code != 200:
            self.history.failures[body["error"]["code"]] += 1
            return False
        length = int(body["messages"][0]["content"])
        call = Answered(token, body["run_id"], length, began_at, ended_at)
        self.history.note(session_id, call)
        return True
