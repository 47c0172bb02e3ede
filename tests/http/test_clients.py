"""The clients that people use: httpx, httpx-sse, curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx_sse
import pytest

from tests.http.conftest import Serve, Served
from tests.support.driver import LIMIT_S

HELLO = ["Hello", "wörld ✓ \u2028 \x85 \U0001f600", ""]


def asking(session_id: str, content: object) -> dict[str, Any]:
    return {"session_id": session_id, "message": {"content": content}}


@pytest.fixture
def anyio_backend() -> str:
    """The server is what is tested here, and it has a loop of its own."""
    return "asyncio"


async def test_httpx_reads_a_stream(served: Served) -> None:
    async with (
        httpx.AsyncClient(base_url=served[1], timeout=LIMIT_S) as client,
        client.stream("POST", "/invoke", json=asking("httpx", "hello")) as response,
    ):
        assert response.status_code == 200
        raw = b"".join([part async for part in response.aiter_raw()])
    frames = [block.split("\n") for block in raw.decode().split("\n\n")[:-1]]
    assert [json.loads(data.removeprefix("data: "))["content"] for _, data in frames] == HELLO


async def test_httpx_sse_reads_a_stream(served: Served) -> None:
    """Its line reader must not stop at what only Unicode takes for the end of a line."""
    async with (
        httpx.AsyncClient(base_url=served[1], timeout=LIMIT_S) as client,
        httpx_sse.aconnect_sse(client, "POST", "/invoke", json=asking("sse", "hello")) as source,
    ):
        events = [event async for event in source.aiter_sse()]
    assert [event.id for event in events] == ["1", "2", "3"]
    assert {event.event for event in events} == {"message"}
    assert [event.json()["content"] for event in events] == HELLO
    assert events[-1].json()["metadata"] == {"done": True}


async def test_httpx_sse_skips_comments(serve: Serve) -> None:
    _, url = serve(ping_interval=0.2)
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as client:
        request = asking("sse-pulse", "pulse")
        async with httpx_sse.aconnect_sse(client, "POST", "/invoke", json=request) as source:
            events = [event async for event in source.aiter_sse()]
    assert [event.id for event in events] == ["1", "2", "3", "4", "5", "6"]


async def test_httpx_leaves_a_stream(served: Served) -> None:
    process, url = served
    async with httpx.AsyncClient(base_url=url, timeout=LIMIT_S) as client:
        async with client.stream("POST", "/invoke", json=asking("httpx-left", "wait")) as response:
            async for _ in response.aiter_raw():
                break
        await anyio.to_thread.run_sync(process.expect, "left httpx-left disconnected")


async def test_fifty_streams_at_once(served: Served) -> None:
    """Two calls of a session wait for each other, the sessions for nobody."""
    answers: list[str] = []

    async with httpx.AsyncClient(base_url=served[1], timeout=30) as client:

        async def ask(number: int) -> None:
            answer = await client.post("/invoke", json=asking(f"many {number % 25}", "hello"))
            answers.append(answer.text)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, number)
    assert len(answers) == 50
    assert set(answers) == {answers[0]}
    assert answers[0].count("data: ") == 3


async def test_the_error_body_is_json(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served[1], timeout=LIMIT_S) as client:
        answer = await client.post("/invoke", json={})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "INVALID_REQUEST"
        answer = await client.post("/invoke", content="hello")
        assert answer.json()["error"]["code"] == "UNSUPPORTED_MEDIA_TYPE"
        assert (await client.get("/health")).json()["started_by"] == "lifespan"


# ---- curl --------------------------------------------------------------------------------------

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def curl(*options: str, limit_s: float = LIMIT_S) -> str:
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", str(limit_s), *options],
        capture_output=True,
        timeout=limit_s + 5,
        check=True,
    )
    return done.stdout.decode()


@needs_curl
def test_curl_reads_a_stream(served: Served) -> None:
    body = json.dumps(asking("curl", "hello"))
    said = curl("-N", "--json", body, "-H", "Accept: */*", f"{served[1]}/invoke")
    assert said.count("data: ") == 3
    assert said.startswith('id: 1\ndata: {"name":"assistant","content":"Hello"')


@needs_curl
def test_curls_json_option_asks_for_a_whole_answer(served: Served) -> None:
    """`--json` says that JSON is accepted as well as sent."""
    said = curl("--json", json.dumps(asking("curl-json", "hello")), f"{served[1]}/invoke/")
    assert [message["content"] for message in json.loads(said)["messages"]] == HELLO[:-1]


@needs_curl
def test_curl_without_a_content_type_is_told(served: Served) -> None:
    said = curl("-d", json.dumps(asking("curl", "hello")), f"{served[1]}/invoke")
    assert json.loads(said)["error"] == {
        "code": "UNSUPPORTED_MEDIA_TYPE",
        "message": "Content-Type must be application/json",
    }


@needs_curl
def test_curl_sends_two_megabytes_and_is_refused_five(served: Served, tmp_path: Path) -> None:
    """For large bodies curl asks first (Expect: 100-continue)."""
    file = tmp_path / "body.json"
    for size, status in ((2_000_000, "200"), (5_000_000, "413")):
        file.write_text(json.dumps(asking("curl-large", "x" * size)))
        said = curl(
            *("-H", "Content-Type: application/json", "--data-binary", f"@{file}"),
            *("-o", "/dev/null", "-w", "%{http_code}", f"{served[1]}/invoke"),
        )
        assert said == status


@needs_curl
@pytest.mark.parametrize("protocol", ["--http1.0", "--http1.1"])
def test_curl_speaks_every_version(served: Served, protocol: str) -> None:
    body = json.dumps(asking("curl-version", "hello"))
    headers = ("-H", "Content-Type: application/json", "-d", body)
    said = curl(protocol, *headers, f"{served[1]}/invoke")
    assert said.count("data: ") == 3


@needs_curl
def test_curl_head(served: Served) -> None:
    said = curl("-I", f"{served[1]}/health")
    assert said.startswith("HTTP/1.1 200 OK\r\n")
