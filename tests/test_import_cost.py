"""What `import asgi_agentrt` costs and leaves alone, each seen in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES_LIMIT = 320
NEVER = (
    "agentscope",
    "django",
    "fastapi",
    "mcp",
    "opentelemetry",
    "prometheus_client",
    "redis",
    "sse_starlette",
    "trio",
    "uvicorn",
)

AFTER_IMPORT = """
import json, logging, os, signal, sys, threading

read = []
environ = type(os.environ)
original = environ.__getitem__

def recording(self, key):
    frame = sys._getframe(1)
    while frame and frame.f_code.co_filename.startswith("<frozen"):
        frame = frame.f_back
    if "asgi_agentrt" in frame.f_code.co_filename:
        read.append(key)
    return original(self, key)

environ.__getitem__ = recording
handlers = {n: signal.getsignal(n) for n in signal.valid_signals()}
before = set(sys.modules)
import asgi_agentrt

ours = [name for name in logging.root.manager.loggerDict if name.startswith("asgi_agentrt")]
print(json.dumps({
    "file": asgi_agentrt.__file__,
    "new": sorted(set(sys.modules) - before),
    "loaded": len(sys.modules),
    "root": [len(logging.root.handlers), logging.root.level],
    "ours": [name for name in ours if logging.getLogger(name).handlers],
    "threads": threading.active_count(),
    "signals": all(signal.getsignal(n) == h for n, h in handlers.items()),
    "read": read,
}))
"""

AFTER_A_CALL = """
import anyio, httpx, json, logging, sys, uvicorn
original = uvicorn.Server.handle_exit
import asgi_agentrt

async def app(msg, ctx):
    yield "hello"

async def main():
    agent = asgi_agentrt.AgentRuntimeASGI(config={}, app=app)
    async with agent.lifespan():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(agent), base_url="http://here"
        ) as client:
            answer = await client.post("/invoke", json={
                "session_id": "s", "message": {"name": "u", "content": "Hi", "role": "user"},
            })
    return answer.status_code

status = anyio.run(main)
print(json.dumps({
    "status": status,
    "untouched": uvicorn.Server.handle_exit is original,
    "root": [len(logging.root.handlers), logging.root.level],
    "heavy": sorted(n for n in sys.modules if n.partition(".")[0] in %r and n != "uvicorn"),
}))
"""


def fresh(code: str, cwd: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fresh(AFTER_IMPORT, tmp_path_factory.mktemp("elsewhere"))


def test_few_modules_are_loaded(imported: dict[str, Any]) -> None:
    assert "asgi_agentrt._server" in imported["new"]
    assert imported["loaded"] < MODULES_LIMIT, "\n".join(imported["new"])


@pytest.mark.parametrize("library", NEVER)
def test_no_extra_is_loaded(imported: dict[str, Any], library: str) -> None:
    assert [name for name in imported["new"] if name.partition(".")[0] == library] == []


def test_logging_stays_as_it_was(imported: dict[str, Any]) -> None:
    assert imported["root"] == [0, 30]
    assert imported["ours"] == []


def test_no_thread_and_no_signal_handler_appears(imported: dict[str, Any]) -> None:
    assert imported["threads"] == 1
    assert imported["signals"]


def test_no_environment_variable_is_read(imported: dict[str, Any]) -> None:
    assert imported["read"] == []


def test_a_served_call_leaves_the_host_s_uvicorn_and_logging_alone(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", exc_type=ImportError)
    seen = fresh(AFTER_A_CALL % (NEVER,), tmp_path)
    assert seen["status"] == 200
    assert seen["untouched"]
    assert seen["root"] == [0, 30]
