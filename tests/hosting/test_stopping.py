"""How uvicorn and others stop with us inside: the signals, the time it takes, the order."""

from __future__ import annotations

import re
import signal
import time

import pytest

from tests.support.process import Process

from .servers import SERVERS, said, serving, stream

UVICORN = SERVERS["uvicorn"]
NOISE_S = 4.0


def marks(process: Process) -> list[str]:
    return re.findall(r"MARK (.*)", process.output)


@pytest.mark.parametrize("site", ["attached", "wrapped", "mounted"])
def test_a_second_signal_does_not_cut_the_stop_short(site: str) -> None:
    with serving(UVICORN, site) as (process, client), stream(client, "/agent/invoke") as coming:
        process.send(signal.SIGTERM)
        process.send(signal.SIGTERM)
        assert list(coming)[-1]["metadata"] == {"done": True, "error": True}
        assert process.wait() == -signal.SIGTERM
    assert marks(process).count("a stopped") == 1


@pytest.mark.parametrize("site", ["attached", "mounted"])
def test_ctrl_c_is_a_stop_like_sigterm(site: str) -> None:
    with serving(UVICORN, "none") as (process, _):
        without_us = process.stop(signal.SIGINT)
    with serving(UVICORN, site) as (process, client), stream(client, "/agent/invoke") as coming:
        process.send(signal.SIGINT)
        assert list(coming)[-1]["metadata"] == {"done": True, "error": True}
        assert process.wait() == without_us
    assert marks(process).count("a stopped") == 1


def test_with_signals_off_a_stream_is_waited_for_as_uvicorn_does() -> None:
    """Nobody tells us, so it lasts until the client leaves."""
    with serving(UVICORN, "attached", signals="off") as (process, client):
        with stream(client, "/agent/invoke"):
            process.send(signal.SIGTERM)
            process.expect("Waiting for connections to close")
            assert process.returncode is None
        assert process.wait() == -signal.SIGTERM
    assert marks(process)[1:] == [
        "host started",
        "a left: disconnected",
        "host stopped",
        "a stopped",
    ]


def test_at_uvicorn_s_own_limit_what_was_cut_off_unwinds_before_we_close() -> None:
    with serving(UVICORN, "attached", "--timeout-graceful-shutdown", "1", signals="off") as (
        process,
        client,
    ):
        with stream(client, "/agent/invoke") as coming:
            began = time.monotonic()
            process.send(signal.SIGTERM)
            assert list(coming) == []
        assert process.wait() == -signal.SIGTERM
        assert time.monotonic() - began < 1 + 2 + NOISE_S
    # Uvicorn tells the host a moment before the cancelled requests have unwound.
    assert marks(process)[-1] == "a stopped"
    assert "a left: disconnected" in marks(process)


def test_a_stop_while_idle_takes_no_drain_timeout() -> None:
    with serving(UVICORN, "root", drain_timeout=30) as (process, client):
        assert said(client, "/invoke") == "a with memory"
        began = time.monotonic()
        assert process.stop() == -signal.SIGTERM
        assert time.monotonic() - began < NOISE_S
    assert marks(process) == ["a started", "a stopped"]


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn asgi", "gunicorn uvicorn"])
def test_each_of_two_workers_starts_and_stops_its_own(name: str) -> None:
    preload = ["--preload"] if name.startswith("gunicorn") else []
    with serving(SERVERS[name], "attached", "--workers", "2", *preload) as (process, client):
        process.expect(r"(?s)MARK a started.*MARK a started")
        assert client.get("/agent/health").status_code == 200
        process.stop()
    assert marks(process).count("a started") == marks(process).count("a stopped") == 2


def test_two_projects_in_one_process_each_have_their_own_runtime_and_helpers() -> None:
    with serving(UVICORN, "two") as (process, client):
        assert said(client, "/a/invoke") == "a with memory"
        assert said(client, "/b/invoke") == "b with memory"
        with stream(client, "/a/invoke"), stream(client, "/b/invoke"):
            pass
        process.expect("MARK a left: disconnected")
        process.expect("MARK b left: disconnected")
        process.stop()
    for name in "ab":
        assert f"MARK {name} stopped" in process.output


# ---- prefixes of a proxy -----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "is_kept"), [("uvicorn", False), ("hypercorn", True)])
def test_below_a_server_s_root_path(name: str, is_kept: bool) -> None:
    """Uvicorn wants a proxy that strips the prefix; hypercorn takes either."""
    with serving(SERVERS[name], "fastapi", "--root-path", "/proxy") as (process, client):
        process.expect(r"(?s)MARK a started.*MARK a started")
        for place in ("/composed", "/attached", "/mounted"):
            assert client.get(f"{place}/health").status_code == 200
            assert said(client, f"{place}/invoke") == "a with memory"
            if is_kept:
                assert client.get(f"/proxy{place}/health").status_code == 200
        bare = client.post("/attached")
        assert (bare.status_code, bare.json()["error"]["code"]) == (404, "NOT_FOUND")


# ---- starts that fail --------------------------------------------------------------------------


def test_a_root_app_that_cannot_start_ends_the_server_which_says_why_once() -> None:
    with (
        pytest.raises(AssertionError, match="ended") as failed,
        serving(UVICORN, "root", env={"BROKEN": "1"}),
    ):
        pass
    said_by_server = str(failed.value)
    assert said_by_server.count("on_startup: OSError: no database") == 1
    assert "asgi_agentrt/" not in said_by_server  # of a traceback, the user's part
    assert "exit code 3" in said_by_server


@pytest.mark.parametrize("site", ["composed", "attached", "wrapped", "mounted"])
def test_a_host_serves_on_without_an_agent_that_cannot_start(site: str) -> None:
    with serving(UVICORN, site, env={"BROKEN": "1"}) as (process, client):
        assert client.get("/health").json() == {"host": "fine"}
        answer = client.post("/agent/invoke", json={})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "NOT_READY"
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/agent/health").json()["status"] == "unhealthy"
        assert process.output.count("on_startup: OSError: no database") == 1
        assert process.stop() == -signal.SIGTERM


def test_startup_failure_fail_ends_a_host_too() -> None:
    with (
        pytest.raises(AssertionError, match="exit code 3") as failed,
        serving(UVICORN, "wrapped", env={"BROKEN": "1"}, startup_failure="fail"),
    ):
        pass
    assert str(failed.value).count("on_startup: OSError: no database") == 1
