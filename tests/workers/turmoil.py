"""Clients at work while workers are killed, paused and started again."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync

from tests.workers.clients import Clients
from tests.workers.history import History, Log
from tests.workers.places import Place
from tests.workers.workers import Worker


@dataclass(frozen=True, kw_only=True)
class Turmoil:
    """How much of what.

    Attributes:
        sessions: How many sessions there are.
        clients: How many call at once.
        calm_s: How long all workers run between two accidents.
        lasts_s: How long accidents go on; there is one at least.
        pause_s: How long another worker is paused at every third accident; more than the lease
            makes a zombie of it.
    """

    sessions: int
    clients: int
    calm_s: float
    lasts_s: float = 0.0
    pause_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it."""

    history: History
    logs: dict[str, Log]
    took_s: float
    kills: int
    pauses: int

    def faults(self) -> list[str]:
        """Return what is wrong; nothing if all is well."""
        return self.history.faults(self.logs)


async def endure(place: Place, workers: list[Worker], what: Turmoil, *, seed: int) -> Outcome:
    """Let clients call while accidents happen; all calls have ended when it returns."""
    chance = random.Random(seed)
    names = [f"session {number}" for number in range(what.sessions)]
    clients = Clients([worker.url for worker in workers], names, seed=seed)
    began = time.monotonic()
    kills = pauses = 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clients.run, what.clients)
        while not kills or time.monotonic() - began < what.lasts_s:
            await anyio.sleep(what.calm_s)
            victim, *others = chance.sample(workers, len(workers))
            kills += 1
            if what.pause_s and kills % 3 == 0:
                pauses += 1
                await _pause(others[0], what.pause_s)
            victim.kill()
            victim.start()
            await run_sync(victim.wait_ready)
        await anyio.sleep(what.calm_s)
        clients.is_over = True
    took_s = time.monotonic() - began
    history = clients.history
    logs: dict[str, Log] = {name: await place.log(name) for name in history.sessions()}
    return Outcome(history=history, logs=logs, took_s=took_s, kills=kills, pauses=pauses)


async def _pause(worker: Worker, seconds: float) -> None:
    worker.pause()
    try:
        await anyio.sleep(seconds)
    finally:
        worker.go_on()
