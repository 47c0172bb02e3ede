"""A program that saves sessions until it is killed, or so many times; run by the tests.

writer.py crash FOLDER            for each line of input, a child that saves until it is killed
writer.py count FOLDER NAME N     N times: one more under NAME, and one more under "shared"
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import anyio

from asgi_agentrt._session import SessionKey, Sessions
from asgi_agentrt._session._json_store import JsonStore
from asgi_agentrt.exceptions import SessionConflictError

KEY = SessionKey("ann", "s1")


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def document(number: int) -> dict[str, Any]:
    """Return what is saved as this number: megabytes, so that writing them takes a while."""
    text = chr(ord("a") + number % 26) * 100_000
    # Of changing size, so that half of one and half of the other fit badly.
    return {"first": {"n": number}, "filling": {"texts": [text] * (60 + number % 7 * 5)}}


async def save_forever(folder: Path) -> None:
    store = JsonStore(folder)
    await store.open()
    stored = await store.load(KEY)
    version, number = stored.version, (stored.document or {"first": {"n": 0}})["first"]["n"]
    while True:
        number += 1
        say(f"saving {number}")
        version = await store.save(KEY, document(number), version)
        say(f"saved {number}")


def crash(folder: Path) -> None:
    for _ in sys.stdin:
        if not (pid := os.fork()):
            anyio.run(save_forever, folder)
        say(f"child {pid}")
        os.waitpid(pid, 0)
        say("dead")


async def count(folder: Path, name: str, times: int) -> None:
    store = JsonStore(folder)
    await store.open()
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


if __name__ == "__main__":
    if sys.argv[1] == "crash":
        crash(Path(sys.argv[2]))
    else:
        anyio.run(count, Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
