"""The life of an agent, in every way of hosting, on every server."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack

import httpx
import pytest

from tests.support.process import Process

from .servers import DRAIN_S, SERVERS, said, serving, stream

# What a server itself may take for its end, on a machine that others use too.
NOISE_S = 6.0

ROOT = {"": "lifespan"}
WRAPPED = {"/agent": "wrapped"}
FASTAPI = {"/composed": "composed", "/attached": "composed", "/mounted": "lazy"}
# What each site has at which prefix, and the way it is started there.
SITES = {
    "root": ROOT,
    "composed": {"/agent": "composed"},
    "attached": {"/agent": "composed"},
    "wrapped": WRAPPED,
    "mounted": {"/agent": "lazy"},
    "fastapi": FASTAPI,
}
ON_UVICORN = ["root", "composed", "attached", "wrapped", "mounted"]
LIVES = [
    *(("uvicorn", site) for site in ON_UVICORN),
    *(
        (name, site)
        for name in ("hypercorn", "granian", "daphne", "gunicorn asgi", "gunicorn uvicorn")
        for site in ("root", "wrapped", "fastapi")
    ),
    ("hypercorn -w 0", "fastapi"),
    ("hypercorn -k trio", "fastapi"),  # Django knows no trio
]


@pytest.mark.parametrize(("name", "site"), LIVES)
def test_the_life_of_an_agent(name: str, site: str) -> None:
    """Start, health, a whole stream, a client that leaves, and a stop with a stream open."""
    server = SERVERS[name]
    places = {prefix: way if server.has_lifespan else "lazy" for prefix, way in SITES[site].items()}
    with serving(server, site) as (process, client):
        at_once = sum(way != "lazy" for way in places.values())
        process.expect("(?s)" + "MARK a started.*" * at_once)
        for number, (prefix, way) in enumerate(places.items(), 1):
            health = client.get(f"{prefix}/health")
            assert (health.status_code, health.json()["started_by"]) == (200, way)
            assert said(client, f"{prefix}/invoke") == "a with memory"
            with stream(client, f"{prefix}/invoke"):
                pass
            process.expect("(?s)" + "MARK a left: disconnected.*" * number, limit_s=10)
        if site != "root":
            assert client.get("/health").json() == {"host": "fine"}

        if server.tells_signals:
            code, took_s = stop_with_open_streams(process, client, places)
            assert DRAIN_S < took_s < DRAIN_S + 2 + NOISE_S
        else:
            code = process.stop()
    marks = re.findall(r"MARK (.*)", process.output)
    assert marks.count("a started") == len(places)
    assert marks.count("a stopped") == len(places), process.output
    assert marks.count("host started") == marks.count("host stopped")
    assert code == server.exit_code


def stop_with_open_streams(
    process: Process, client: httpx.Client, prefixes: Iterable[str]
) -> tuple[int, float]:
    """Send SIGTERM while a stream is open at every place; return the exit code and the seconds."""
    with ExitStack() as stack:
        streams = [
            stack.enter_context(stream(client, f"{prefix}/invoke", "s2")) for prefix in prefixes
        ]
        began = time.monotonic()
        process.send(signal.SIGTERM)
        for coming in streams:
            error, last = coming
            assert error["error"]["code"] == "CANCELLED"
            assert last["metadata"] == {"done": True, "error": True}
    code = process.wait(limit_s=15)
    assert process.output.count("MARK a left: shutdown") == len(streams), process.output
    return code, time.monotonic() - began


@pytest.mark.parametrize("site", ["none", "mounted"])
def test_uvicorn_s_exit_code_is_that_of_a_host_without_us(site: str) -> None:
    with serving(SERVERS["uvicorn"], site) as (process, client):
        assert client.get("/health").json() == {"host": "fine"}
        assert process.stop() == SERVERS["uvicorn"].exit_code


@pytest.mark.parametrize("name", ["hypercorn", "hypercorn -k trio"])
def test_hypercorn_s_default_worker_hears_of_no_signal_and_cuts_streams_off(name: str) -> None:
    """It gets none, so it can only give them hypercorn's `graceful_timeout`; all is closed."""
    with serving(SERVERS[name], "attached") as (process, client):
        process.expect("MARK a started")
        with stream(client, "/agent/invoke") as coming:
            process.send(signal.SIGTERM)
            rest = list(coming)
        assert process.wait(limit_s=15) == 0
    assert rest == []
    assert "MARK a left: disconnected" in process.output
    assert "MARK a stopped" in process.output
