"""How long sessions take to load and save, beside AgentScope 1.x's session classes.

`python -m benchmarks.sessions [SECONDS]`, in an environment with AgentScope 1.x and redis-py; Redis
is started if `redis-server` is there. Both load and save the same object, by turns: a list of
messages of about a kilobyte each, changed before every save. Ours does so as a run does, that is
with a version, a line and a merge, and its files are on the disk when `save` returns; AgentScope's
are not, and a crash may leave half of one. Prints medians and the ratios of ours to theirs, how
many turns a second can be taken in the line of a session, and all of it again as JSON.
"""

from __future__ import annotations

import itertools
import json
import logging
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import anyio
import redis.asyncio
from agentscope import __version__ as agentscope_version
from agentscope.module import StateModule
from agentscope.session import JSONSession, RedisSession

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import SessionKey, Sessions, SessionStore, open_store
from tests.support.redis_server import SERVER, redis_server

SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
MESSAGE_BYTES = 1000
ROUNDS = (5, 200)  # at least, at most
LINE_TASKS = 16
# Of all the time that there is: what the lines get, the rest is for loading and saving.
LINES_PART = 0.15
KEY = SessionKey("", "benchmark")


class Memory(StateModule):
    """Messages of a size, as an agent's memory holds them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.messages: list[dict[str, Any]] = [
            {"id": f"{number:08}", "role": "user", "content": "Ünïcode, too. " * (size_of // 16)}
            for number, size_of in enumerate(pieces(size))
        ]
        self.register_state("messages")

    def change(self, number: int) -> None:
        """Make the next save one."""
        self.messages[-1] = {**self.messages[-1], "turn": number}


def pieces(size: int) -> list[int]:
    """Cut a size into messages."""
    count = max(1, size // MESSAGE_BYTES)
    return [size // count] * count


class Taken(NamedTuple):
    """What one turn took, in milliseconds."""

    load: float
    save: float


# Loads the session into the first object and saves the second one.
Turn: TypeAlias = Callable[[Memory, Memory], Awaitable[Taken]]


def theirs(session: Any) -> Turn:
    """Return AgentScope's way."""

    async def turn(old: Memory, new: Memory) -> Taken:
        loading = await timed(session.load_session_state(KEY.session_id, memory=old))
        saving = await timed(session.save_session_state(KEY.session_id, memory=new))
        return Taken(loading, saving)

    return turn


def ours(store: SessionStore) -> Turn:
    """Return ours: what a run does that has its session's turn."""
    sessions = Sessions(store)
    tickets = map(str, itertools.count())

    async def turn(old: Memory, new: Memory) -> Taken:
        with sessions.hold(KEY, next(tickets)):
            loading = await timed(sessions.load_session_state(KEY.session_id, memory=old))
            saving = await timed(sessions.save_session_state(KEY.session_id, memory=new))
        return Taken(loading, saving)

    return turn


async def timed(call: Awaitable[None]) -> float:
    """Return the milliseconds that a call takes."""
    began = time.perf_counter()
    await call
    return (time.perf_counter() - began) * 1000


async def compare(turns: Sequence[Turn], size: int, limit_s: float) -> list[Taken]:
    """Return the median of each way, all of them taken by turns."""
    memory = Memory(size)
    taken: list[list[Taken]] = [[] for _ in turns]
    deadline, number = time.monotonic() + limit_s, 0
    while number < ROUNDS[0] or (number < ROUNDS[1] and time.monotonic() < deadline):
        for turn, mine in zip(turns, taken, strict=True):
            memory.change(number)
            mine.append(await turn(Memory(0), memory))
        number += 1
    # The first round made what the others loaded.
    return [Taken(*map(statistics.median, zip(*mine[1:], strict=True))) for mine in taken]


async def turns_a_second(store: SessionStore, limit_s: float, tasks: int) -> float:
    """Return how often tickets enter a line and leave it; each task has a session of its own."""
    lines, count = Sessions(store).lines, 0
    deadline = time.monotonic() + limit_s

    async def take_turns(task: int) -> None:
        nonlocal count
        key = SessionKey("", f"line {task}")
        for number in itertools.count():
            if time.monotonic() >= deadline:
                return
            standing = await lines.enter(key, f"{task}.{number}", lease_s=15)
            assert standing.position == 0
            await lines.leave(key, f"{task}.{number}")
            count += 1

    began = time.monotonic()
    async with anyio.create_task_group() as group:
        for task in range(tasks):
            group.start_soon(take_turns, task)
    return count / (time.monotonic() - began)


@contextmanager
def places() -> Generator[dict[str, tuple[Any, SessionConfig]]]:
    """Yield AgentScope's session object and our settings for each backend that there is."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, tuple[Any, SessionConfig]] = {
            "memory": (None, SessionConfig(backend="memory")),
            "json": (
                JSONSession(save_dir=str(Path(folder, "theirs"))),
                SessionConfig(save_dir=str(Path(folder, "ours"))),
            ),
        }
        if SERVER is None:
            print("redis-server is not installed: without Redis")
            yield found
            return
        with redis_server() as server:
            pool = redis.asyncio.ConnectionPool.from_url(server.url, decode_responses=True)
            config = SessionConfig(backend="redis", url=server.url)
            yield {**found, "redis": (RedisSession(connection_pool=pool), config)}


async def measure(seconds: float) -> dict[str, Any]:
    """Measure everything in about so much time, printing tables as it goes."""
    result: dict[str, Any] = {"load_and_save_ms": {}, "turns_a_second": {}}
    with places() as found:
        compared = {name: place for name, place in found.items() if place[0] is not None}
        each_s = seconds * (1 - LINES_PART) / (len(compared) * len(SIZES))
        print(f"{'':22}{'AgentScope':>14}{'asgi_agentrt':>15}{'ratio':>8}")
        for name, (session, config) in compared.items():
            for size in SIZES:
                async with open_store(config, Path()) as store:
                    medians = await compare([theirs(session), ours(store)], size, each_s)
                for what, (their_ms, our_ms) in zip(
                    Taken._fields, zip(*medians, strict=True), strict=True
                ):
                    ratio = our_ms / their_ms
                    label = f"{name} {what} {_readable(size)}"
                    print(f"{label:22}{their_ms:11.2f} ms{our_ms:12.2f} ms{ratio:8.2f}")
                    result["load_and_save_ms"][f"{name} {what} {size}"] = {
                        "agentscope": round(their_ms, 3),
                        "asgi_agentrt": round(our_ms, 3),
                        "ratio": round(ratio, 2),
                    }
        print(f"\n{'turns a second':22}{'one session':>14}{f'{LINE_TASKS} sessions':>15}")
        for name, (_, config) in found.items():
            rates = []
            async with open_store(config, Path()) as store:
                for tasks in (1, LINE_TASKS):
                    limit_s = seconds * LINES_PART / (2 * len(found))
                    rates.append(await turns_a_second(store, limit_s, tasks))
            print(f"{name:22}{rates[0]:14.0f}{rates[1]:15.0f}")
            result["turns_a_second"][name] = {
                "1": round(rates[0]),
                str(LINE_TASKS): round(rates[1]),
            }
    return result


def _readable(size: int) -> str:
    return f"{size // 1_000_000} MB" if size >= 1_000_000 else f"{size // 1000} KB"


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    logging.getLogger("as").setLevel(logging.WARNING)  # it says every load and save
    print(f"Python {platform.python_version()}, AgentScope {agentscope_version}\n")
    print(f"\n{json.dumps(anyio.run(measure, seconds))}")


if __name__ == "__main__":
    main()
