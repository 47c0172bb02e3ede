"""A program that uses sessions until it is killed, or so many times; run by the tests.

PLACE is a folder, or the URL of a Redis.

writer.py crash PLACE            for each line of input, a child that saves until it is killed
writer.py count PLACE NAME N     N times: one more under NAME, and one more under "shared"
writer.py hold PLACE TICKET S    waits for its turn with a lease of S seconds, then does as told:
                                 "save N", "renew", "leave"
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import SessionHold, SessionKey, Sessions, SessionStore, open_store
from asgi_agentrt.exceptions import SessionConflictError

KEY = SessionKey("ann", "s1")


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def document(number: int) -> dict[str, Any]:
    """Return what is saved as this number: megabytes, so that writing them takes a while."""
    text = chr(ord("a") + number % 26) * 100_000
    # Of changing size, so that half of one and half of the other fit badly.
    return {"first": {"n": number}, "filling": {"texts": [text] * (60 + number % 7 * 5)}}


def open_place(place: str) -> AbstractAsyncContextManager[SessionStore]:
    config = SessionConfig(backend="redis", url=place) if "://" in place else SessionConfig()
    return open_store(replace(config, save_dir=place), Path())


async def save_forever(place: str) -> None:
    async with open_place(place) as store:
        stored = await store.load(KEY)
        version, number = stored.version, (stored.document or {"first": {"n": 0}})["first"]["n"]
        while True:
            number += 1
            say(f"saving {number}")
            version = await store.save(KEY, document(number), version)
            say(f"saved {number}")


def crash(place: str) -> None:
    if "://" in place:
        importlib.import_module("redis.asyncio")  # once, and not in each child
    for _ in sys.stdin:
        if not (pid := os.fork()):
            anyio.run(save_forever, place)
        say(f"child {pid}")
        os.waitpid(pid, 0)
        say("dead")


async def count(place: str, name: str, times: int) -> None:
    async with open_place(place) as store:
        await count_in(store, name, times)


async def count_in(store: SessionStore, name: str, times: int) -> None:
    sessions = Sessions(store)
    mine = {"n": 0}
    for _ in range(times):
        mine["n"] += 1
        await sessions.save_session_state(KEY.session_id, KEY.user_id, **{name: mine})
        while True:
            held, version = await store.load(KEY)
            assert held is not None
            shared = held.get("shared", {"n": 0})["n"] + 1
            held |= {"shared": {"n": shared}, "filling": {"n": [shared] * (shared * 50)}}
            try:
                await store.save(KEY, held, version)
            except SessionConflictError:
                continue
            break


async def hold(place: str, ticket: str, lease_s: float) -> None:
    async with open_place(place) as store:
        sessions = Sessions(store)
        standing = await sessions.lines.enter(KEY, ticket, lease_s=lease_s)
        say(f"entered {standing.position}")
        while standing.position != 0:
            await anyio.sleep(0.02)
            standing = await sessions.lines.renew(KEY, ticket, lease_s=lease_s)
        with sessions.hold(KEY, ticket) as held:
            say(f"turn {(await held.load_state()).get('n')}")
            for line in sys.stdin:  # nothing else goes on in this process meanwhile
                say(await obey(line.split(), sessions, held, ticket, lease_s))


async def obey(
    words: list[str], sessions: Sessions, held: SessionHold, ticket: str, lease_s: float
) -> str:
    match words:
        case ["save", number]:
            try:
                await held.save_state({"n": int(number)})
                await sessions.save_session_state(KEY.session_id, KEY.user_id, memory=document(1))
            except SessionConflictError:
                return f"refused {number}"
            return f"saved {number}"
        case ["renew"]:
            standing = await sessions.lines.renew(KEY, ticket, lease_s=lease_s)
            return f"position {standing.position}"
        case _:
            await sessions.lines.leave(KEY, ticket)
            return "left"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["crash", place]:
            crash(place)
        case ["count", place, name, times]:
            anyio.run(count, place, name, int(times))
        case ["hold", place, ticket, lease_s]:
            anyio.run(hold, place, ticket, float(lease_s))
