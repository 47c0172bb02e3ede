"""Projects with a real agent, and clients that insist on every rule of a stream.

They are served by a uvicorn of their own (`served`), whose waits block the thread, or in the event
loop of the test (`here`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import anyio
import httpx

from asgi_agentrt import AgentRuntimeASGI
from tests.support import driver
from tests.support.driver import parse_frames
from tests.support.mcp_server import PROGRAM
from tests.support.process import ROOT, Process, uvicorn

APPS = Path(__file__).parent / "apps"
LIMIT_S = 30.0
# An MCP server that was away for long is tried every 30 seconds.
PATIENCE_S = 90.0

# What only a mistake of ours, or one that we should have hidden, writes.
MISTAKES = (
    "different task",
    "never retrieved",
    "never awaited",
    "was destroyed but it is pending",
    "Traceback",
    "ResourceWarning",
)

ROOT_APP = """
from pathlib import Path
from asgi_agentrt import AgentRuntimeASGI
app = AgentRuntimeASGI(Path(__file__).parent)
"""
HOST_APP = """
from pathlib import Path
from starlette.applications import Starlette
from asgi_agentrt import AgentRuntimeASGI
agent = AgentRuntimeASGI(Path(__file__).parent)
app = Starlette(lifespan=agent.lifespan)
app.mount("/agent", agent)
"""

try:
    GENERATION = int(version("agentscope").partition(".")[0])
except PackageNotFoundError:
    GENERATION = 0


def model(script: str, url: str, provider: str = "openai") -> dict[str, Any]:
    """Return the entry of a model that answers at once or not at all."""
    client = {"max_retries": 0}
    entry = {"provider": provider, "model": script, "base_url": url, "api_key": "k"}
    return {**entry, "client_kwargs": client}


def calling(server: str, tool: str, url: str, *, renamed: bool = False, **given: Any) -> Any:
    """Return the entry of a model that calls an MCP server's tool with the arguments `given`.

    `renamed`: the tool's name is taken by a server further up.
    """
    return model(f"call:{tool_name(server, tool, renamed=renamed)}:{json.dumps(given)}", url)


def tool_name(server: str, tool: str, *, renamed: bool = False) -> str:
    """Return what an agent calls a server's tool."""
    if GENERATION == 1:
        return f"{server}_{tool}" if renamed else tool
    return f"mcp__{server}__{tool}"


def stdio(**more: Any) -> dict[str, Any]:
    """Return the entry of an MCP server over stdio."""
    return {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(PROGRAM), "stdio"],
        **more,
    }


def project(
    folder: Path,
    config: Mapping[str, Any],
    app: str = "agent",
    changes: Mapping[str, str] | None = None,
) -> Path:
    """Write a project: `config` into agentapp.yaml, an app of `apps` with textual `changes`."""
    folder.mkdir(exist_ok=True)
    shutil.copy(APPS / f"{app}.py", folder / "app.py")
    source = (folder / "app.py").read_text()
    for old, new in (changes or {}).items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    (folder / "app.py").write_text(source)
    configure(folder, config)
    return folder


def configure(folder: Path, config: Mapping[str, Any]) -> None:
    """Write agentapp.yaml; sessions are kept in memory unless `config` says otherwise."""
    whole = {"session": {"backend": "memory"}, **config}
    (folder / "agentapp.yaml").write_text(json.dumps(whole, indent=2))


def answer_of(stream: bytes) -> Answer:
    """Read a whole stream, which has exactly one last event, and numbers without a gap."""
    events = [frame for frame in parse_frames(stream) if frame.number is not None]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    bodies = [event.body for event in events]
    done = [body.get("metadata", {}).get("done", False) for body in bodies]
    assert done == [False] * (len(bodies) - 1) + [True], bodies
    return Answer(bodies[:-1], bodies[-1])


@dataclass
class Answer:
    """What came in a stream: the messages (and perhaps an error), and the last event."""

    messages: list[Any]
    done: Any
    reads: int = 0

    @property
    def failed(self) -> bool:
        return "error" in self.done["metadata"]

    @property
    def text(self) -> str:
        """What the agent said, put together."""
        parts = [message.get("content") for message in self.messages]
        return "".join(part for part in parts if isinstance(part, str))

    def blocks(self, kind: str) -> list[Any]:
        """The complete blocks of this type."""
        contents = [message.get("content") for message in self.messages]
        lists = [content for content in contents if isinstance(content, list)]
        return [block for content in lists for block in content if block["type"] == kind]

    @property
    def result(self) -> str:
        """The text of the one tool result."""
        [block] = self.blocks("tool_result")
        output = block["output"]
        return output if isinstance(output, str) else "".join(part["text"] for part in output)

    @property
    def confirm(self) -> Any:
        """The calls that the last message asks consent for."""
        return self.messages[-1]["metadata"].get("confirm")


@dataclass
class Server:
    """A running uvicorn with a project in it."""

    process: Process
    url: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=LIMIT_S))

    @contextlib.contextmanager
    def stream(self, text: str = "go", session: str = "s1", **fields: Any) -> Iterator[Any]:
        """Call the agent; yields the response, not read yet. Leaving the block disconnects."""
        body = {"session_id": session, "message": {"content": text}, **fields}
        with self.client.stream("POST", f"{self.url}/invoke", json=body) as response:
            yield response

    def invoke(self, text: str = "go", session: str = "s1", **fields: Any) -> Answer:
        """Call the agent and read its whole answer, which is a stream."""
        with self.stream(text, session, **fields) as response:
            assert response.status_code == 200, response.read()
            parts = list(response.iter_raw())
        answer = answer_of(b"".join(parts))
        answer.reads = len(parts)
        return answer

    def ask(self, text: str = "go", session: str = "s1", **fields: Any) -> httpx.Response:
        """Call the agent and wait for its answer as one JSON object, or for an error."""
        body = {"session_id": session, "message": {"content": text}, **fields}
        accept = {"accept": "application/json"}
        return self.client.post(f"{self.url}/invoke", json=body, headers=accept)

    def health(self) -> Any:
        return self.client.get(f"{self.url}/health").json()

    def until_status(self, status: str) -> None:
        """Wait until /health says so."""
        until(lambda: self.health()["status"] == status, f"{status}, not {self.health}")


@contextlib.contextmanager
def served(
    folder: Path,
    *,
    in_host: bool = False,
    env: Mapping[str, str] | None = None,
    mistakes: tuple[str, ...] = MISTAKES,
) -> Generator[Server]:
    """Serve a project with uvicorn; in the end it must stop, and have written no mistake."""
    (folder / "main.py").write_text(HOST_APP if in_host else ROOT_APP)
    with uvicorn("main:app", "--no-access-log", cwd=folder, env=env) as (process, url):
        server = Server(process, url + ("/agent" if in_host else ""))
        with server.client:
            yield server
        assert process.stop() in (0, -15)
        assert_no_mistake(process.output, mistakes)


def assert_no_mistake(output: str, mistakes: tuple[str, ...] = MISTAKES) -> None:
    assert not [mistake for mistake in mistakes if mistake in output], output


def with_path(folder: Path) -> dict[str, str]:
    """Return the environment in which modules of a folder can be imported."""
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for what tells nobody when it happens."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


def processes_with(mark: str) -> list[int]:
    """Return the processes that have this text in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


@contextlib.asynccontextmanager
async def here(folder: Path, app: object = None) -> AsyncGenerator[AgentRuntimeASGI]:
    """Serve a project in this event loop, with `app` in place of its own if given."""
    agent = AgentRuntimeASGI(folder, app=app)
    with anyio.fail_after(120):
        async with agent.lifespan():
            assert agent.runtime.status == "healthy"
            yield agent


async def invoke(
    agent: AgentRuntimeASGI, text: str = "go", session: str = "s1", **fields: Any
) -> Answer:
    """Call an agent that is served here, and read its whole answer."""
    exchange = await driver.call(agent, driver.invocation(session, text, **fields))
    assert exchange.status == 200, exchange.content
    return answer_of(exchange.content)
