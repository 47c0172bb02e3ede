"""Cut off thousands of runs and print what is left of them: `python -m tests.soak --runs 10000`.

Every cut-off is of another kind: at once, while waiting in line, after the head, after an event,
with a send that fails, a body that is never finished, a request that is cancelled, as a whole
answer, by a newer call. The first tenth warms caches up; what the rest leaves must be nothing.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from asgi_agentrt import AgentRuntimeASGI, Msg, SessionContext
from asgi_agentrt._types import Message
from tests.support.driver import Exchange, call, invocation, no_runs, open_stream

# What may differ between two moments without growing: timers that were cancelled and not yet
# dropped, caches of the interpreter. Beyond that, next to nothing for each run.
NOISE_OBJECTS, OBJECTS_A_RUN = 2000, 0.02
NOISE_BYTES, BYTES_A_RUN = 300_000, 10
FILES = Path("/proc/self/fd")  # Linux only


async def app(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
    """Wait after one message, or never say anything, or fail while being left."""
    try:
        if msg.content == "speak":
            yield "x" * 100
        await anyio.sleep_forever()
    finally:
        if msg.content == "fail":
            raise ValueError("while it was left")


class FailingSend(Exchange):
    async def send(self, message: Message) -> None:
        if message.get("body"):
            raise OSError("connection lost")
        await super().send(message)


class HalfBody(Exchange):
    async def receive(self) -> Message:
        message = await super().receive()
        return {**message, "more_body": True} if message["type"] == "http.request" else message


async def cut_off(agent: AgentRuntimeASGI, number: int) -> None:
    """Begin a run, or two of one session, and leave in the way that the number says."""
    session_id = f"session {number}"
    kind = number % 8
    if kind == 0:
        async with open_stream(agent, invocation(session_id, "silent")):
            pass
    elif kind == 1:
        async with open_stream(agent, invocation(session_id, "silent")) as answer:
            await answer.started()
    elif kind == 2:
        async with open_stream(agent, invocation(session_id, "speak")) as answer:
            await answer.next_event()
    elif kind == 3:
        exchange = FailingSend(invocation(session_id, "speak"))
        async with open_stream(agent, exchange=exchange):
            await exchange.ended()
    elif kind == 4:
        async with open_stream(agent, exchange=HalfBody(invocation(session_id))):
            await anyio.lowlevel.checkpoint()
    elif kind == 5:
        exchange = Exchange(invocation(session_id, "speak"))
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(exchange.run, agent)
                await exchange.next_event()
                scope.cancel()
    elif kind == 6:
        request = invocation(session_id, "fail", accept="application/json")
        async with open_stream(agent, request):
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
    else:
        async with open_stream(agent, invocation(session_id, "speak")) as first:
            await first.next_event()
            async with open_stream(agent, invocation(session_id, "speak")) as second:
                await second.started()


@dataclass(frozen=True)
class Figures:
    """What there is at one moment."""

    objects: int
    traced_bytes: int
    files: int
    tasks: int
    sessions: int

    @classmethod
    def take(cls, agent: AgentRuntimeASGI) -> Figures:
        for _ in range(3):
            gc.collect()
        pool = agent.runtime.runs
        return cls(
            objects=len(gc.get_objects()),
            traced_bytes=tracemalloc.get_traced_memory()[0],
            files=len(list(FILES.iterdir())) if FILES.exists() else 0,
            tasks=len(anyio.get_running_tasks()),
            sessions=len(pool._turns) + len(pool) + len(agent.runtime.clock._streams),
        )


async def soak(runs: int) -> tuple[Figures, Figures]:
    """Cut off so many runs; return the figures after the warm-up and after the rest."""
    # An app that fails on purpose; and what is captured of the log would hold on to its frames.
    logging.getLogger("asgi_agentrt").setLevel(logging.CRITICAL)
    config: dict[str, Any] = {
        "session": {"backend": "memory"},
        "platform": {"heartbeat_interval": 0.01},  # for so long a session counts as active
    }
    agent = AgentRuntimeASGI(app=app, config=config)
    async with agent.lifespan():
        for number in range(runs // 10):
            await cut_off(agent, number)
        await no_runs(agent)
        before = Figures.take(agent)
        for number in range(runs):
            await cut_off(agent, number)
        await no_runs(agent)
        await anyio.sleep(0.05)
        _ = agent.runtime.runs.activity.active_sessions  # forgets those of the last moment
        after = Figures.take(agent)
        async with open_stream(agent, invocation("last", "speak")) as answer:
            await answer.next_event()
        assert (await call(agent, invocation("", ""))).status == 400
    return before, after


def faults(before: Figures, after: Figures, runs: int) -> list[str]:
    """Say what was left over."""
    found = []
    if (left := after.objects - before.objects) > NOISE_OBJECTS + runs * OBJECTS_A_RUN:
        found.append(f"{left} objects")
    if (left := after.traced_bytes - before.traced_bytes) > NOISE_BYTES + runs * BYTES_A_RUN:
        found.append(f"{left} bytes")
    if after.files > before.files:
        found.append(f"{after.files - before.files} open files")
    if after.tasks > before.tasks:
        found.append(f"{after.tasks - before.tasks} tasks")
    if after.sessions:
        found.append(f"{after.sessions} runs, lines or streams")
    return found


def main() -> None:
    """Run on the event loop that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--loop", choices=("asyncio", "trio"), default="asyncio")
    options = parser.parse_args()
    tracemalloc.start()
    began = time.monotonic()
    before, after = anyio.run(soak, options.runs, backend=options.loop)
    seconds = time.monotonic() - began
    print(f"{options.runs} runs cut off on {options.loop} in {seconds:.1f} s")  # noqa: T201
    print(f"before: {before}\nafter:  {after}")  # noqa: T201
    found = faults(before, after, options.runs)
    sys.exit(f"left over: {', '.join(found)}" if found else None)


if __name__ == "__main__":
    main()
