"""The examples, run as their READMEs say: a real server, real requests."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.process import ROOT, running, uvicorn
from tests.support.redis_server import free_port, needs_redis, redis_server


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], Path]:
    """Copy an example, as a user would, so that it can write beside its own files."""

    def copy(name: str) -> Path:
        ignored = shutil.ignore_patterns("sessions", "__pycache__")
        return Path(shutil.copytree(ROOT / "examples" / name, tmp_path / name, ignore=ignored))

    return copy


def ask(base: str, text: str, **metadata: str) -> list[dict[str, Any]]:
    """Send one message and return the events of the answer."""
    request = {
        "session_id": "s1",
        "message": {"name": "user", "content": text, "role": "user"},
        "metadata": metadata,
    }
    answer = httpx.post(f"{base}/invoke", json=request, timeout=20)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith("data: ")]


def said(events: list[dict[str, Any]]) -> str:
    assert events[-1]["metadata"] == {"done": True}, events
    return "".join(event["content"] for event in events)


def test_plain_function_is_served_by_the_command_line_and_remembers_across_a_restart(
    example: Callable[[str], Path],
) -> None:
    folder = example("plain_function")
    command = ["-m", "asgi_agentrt", "run", ".", "--port", "0"]
    for turn in (1, 2):
        with running([sys.executable, *command], cwd=folder) as process:
            base = process.expect(r"(http://127\.0\.0\.1:[1-9]\d*)")[1]
            assert said(ask(base, "Good morning")) == f"Turn {turn}: Good morning"
            assert process.stop() == 0, process.output
            assert "Traceback" not in process.output


def test_fastapi_answers_its_own_routes_and_the_agent_s(example: Callable[[str], Path]) -> None:
    with uvicorn("main:app", cwd=example("fastapi_host")) as (process, base):
        assert httpx.get(base).json() == {"message": "Hello from the host"}
        health = httpx.get(f"{base}/agent/health").json()
        assert health["status"] == "healthy"
        events = ask(f"{base}/agent", "Hi", user_id="ada")
        assert said(events) == "Hello ada, you said: Hi"
        process.stop()
        assert "Traceback" not in process.output


def test_django_serves_its_pages_and_the_agent_is_up_from_the_start(
    example: Callable[[str], Path],
) -> None:
    with uvicorn("asgi:application", cwd=example("django_host")) as (process, base):
        assert httpx.get(f"{base}/agent/health").json()["status"] == "healthy"
        assert httpx.get(base).json() == {"message": "Hello from Django", "path": "/"}
        # Whole segments: a page whose name begins like ours stays Django's.
        assert httpx.get(f"{base}/agents/").json()["path"] == "/agents/"
        assert said(ask(f"{base}/agent", "Good morning")) == "2 words"
        process.stop()
        assert "Traceback" not in process.output
        assert "lifespan" not in process.output


@needs_redis
def test_many_workers_count_the_turns_of_a_conversation_together(
    example: Callable[[str], Path],
) -> None:
    port = free_port(below=30_000)
    with redis_server(["--port", str(port)]):
        environment = {"REDIS_URL": f"redis://127.0.0.1:{port}/0"}
        folder = example("many_workers")
        with uvicorn("asgi:app", "--workers", "4", cwd=folder, env=environment) as (process, base):
            process.expect(r"(?s)(Application startup complete.*){4}", limit_s=60)

            def turn(number: int) -> tuple[int, str]:
                answer = said(ask(base, f"Hello {number}"))
                found = re.fullmatch(rf"Turn (\d+), process (\d+): Hello {number}", answer)
                assert found, answer
                return int(found[1]), found[2]

            with ThreadPoolExecutor(16) as pool:
                first = list(pool.map(turn, range(16)))
            assert sorted(number for number, _ in first) == list(range(1, 17))
            processes = {pid for _, pid in first}
            # Which process takes a connection is the system's choice: several do, soon.
            for number in range(17, 200):
                if len(processes) > 1:
                    break
                counted, pid = turn(number)
                assert counted == number
                processes.add(pid)
            assert len(processes) > 1
            process.stop()
            assert "Traceback" not in process.output
