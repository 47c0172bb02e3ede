"""What goes wrong at a start is said once, in every way of hosting, and does not last."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware
from asgi_agentrt._server import _instance
from asgi_agentrt.exceptions import AgentRuntimeError
from tests.support.in_process import ask, invoke, lifespan

CONFIG = "session: {backend: memory}\nserver: {startup_timeout: 5}\n"
APP = """
from asgi_agentrt import AgentApp

class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield "hello"
"""
# What is wrong: a file, its content (None: there is none), and what the message must say.
FAULTS = {
    "no configuration": ("agentapp.yaml", None, r"agentapp\.yaml"),
    "a fault in the configuration": (
        "agentapp.yaml",
        "session: {backend: memory}\nserver: {prot: 1}\n",
        r"agentapp\.yaml:2: server\.prot: .*port",
    ),
    "no app.py": ("app.py", None, r"app\.py: not found.*class App\(AgentApp\)"),
    "an import that fails": (
        "app.py",
        "import json\nraise KeyError('nothing here')\n",
        r"(?s)app\.py: importing it failed.*line 2.*KeyError: 'nothing here'",
    ),
    "a syntax error": ("app.py", "def f(:\n", r"(?s)app\.py: importing it failed.*SyntaxError"),
    "no App": ("app.py", "app = 1\n", r"app\.py: has no App"),
    "an App that is none": ("app.py", "class App: ...\n", r"subclass of asgi_agentrt\.AgentApp"),
    "an App without a call": (
        "app.py",
        "from asgi_agentrt import AgentApp\nclass App(AgentApp): ...\n",
        r"must define `async def __call__",
    ),
    "an App that wants arguments": (
        "app.py",
        APP + "\n    def __init__(self, x): ...\n",
        r"(?s)could not be made.*missing 1 required positional argument",
    ),
    "on_startup raises": (
        "app.py",
        APP + "\n    async def on_startup(self): raise OSError('no database')\n",
        r"on_startup: OSError: no database",
    ),
    "a start that hangs": (
        "agentapp.yaml",
        "session: {backend: memory}\nserver: {startup_timeout: 0.05}\n",
        # On a busy machine, loading the app may be what takes too long.
        r"(on_startup|app\.py): not open after 0\.05 s \(server\.startup_timeout\)",
    ),
}
MAY_HANG = (
    "import pathlib, anyio\n"
    + APP
    + """
    async def on_startup(self):
        if pathlib.Path(__file__).with_name("hang").exists():
            await anyio.sleep_forever()
"""
)


class Project:
    """A folder with one fault, which can be mended."""

    def __init__(self, folder: Path, fault: str) -> None:
        self.folder = folder
        (folder / "agentapp.yaml").write_text(CONFIG)
        (folder / "app.py").write_text(MAY_HANG)
        if fault == "a start that hangs":
            (folder / "hang").touch()
        self._good = {name: (folder / name).read_text() for name in ("agentapp.yaml", "app.py")}
        self._name, content, self.message = FAULTS[fault]
        if content is None:
            (folder / self._name).unlink()
        else:
            (folder / self._name).write_text(content)

    def mend(self) -> None:
        (self.folder / self._name).write_text(self._good[self._name])
        (self.folder / "hang").unlink(missing_ok=True)


@pytest.fixture(params=FAULTS)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return Project(tmp_path, request.param)


@pytest.fixture
def no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_instance, "_FIRST_RETRY_S", 0.0)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    def messages() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return [message for message in found if "could not start" in message]

    caplog.set_level(logging.DEBUG)
    return messages


def composed(agent: AgentRuntimeASGI) -> Any:
    return Starlette(routes=[Mount("/agent", agent)], lifespan=agent.lifespan)


def attached(agent: AgentRuntimeASGI) -> Any:
    host = Starlette()
    agent.attach(host, "/agent")
    return host


def wrapped(agent: AgentRuntimeASGI) -> Any:
    return AgentRuntimeMiddleware(Starlette(), agent)


def mounted(agent: AgentRuntimeASGI) -> Any:
    return Starlette(routes=[Mount("/agent", agent)])


async def test_a_root_app_tells_the_server_and_logs_nothing_itself(
    project: Project, logged: Callable[[], list[str]]
) -> None:
    """The server logs the message that it gets, and ends."""
    agent = AgentRuntimeASGI(project.folder)
    async with lifespan(agent) as server:
        assert server.sent == ["startup.failed"]
        assert re.search(project.message, server.message)
        assert server.message.startswith("the agent runtime could not start: ")
    assert logged() == []


@pytest.mark.usefixtures("no_back_off")
@pytest.mark.parametrize("host", [composed, attached, wrapped, mounted])
async def test_a_host_comes_up_without_its_agent_which_follows_once_the_fault_is_mended(
    project: Project, host: Any, logged: Callable[[], list[str]]
) -> None:
    app = host(AgentRuntimeASGI(project.folder))
    async with lifespan(app) as server:
        assert server.sent == ["startup.complete"]
        if host is not mounted:
            [message] = logged()
            assert re.search(project.message, message)
        answer = await invoke(app, path="/agent/invoke")
        assert (answer.status, answer.error_code) == (503, "NOT_READY")
        assert int(answer.headers["retry-after"]) >= 1
        [message] = logged()  # another attempt, another message
        assert re.search(project.message, message)
        assert (await ask(app, "/agent/health/live")).status == 200
        project.mend()
        assert (await invoke(app, path="/agent/invoke")).status == 200
        assert (await ask(app, "/agent/health")).json["status"] == "healthy"
        if host is mounted:
            await _agent_of(app).stop()
    assert server.sent == ["startup.complete", "shutdown.complete"]
    assert logged() == []


def _agent_of(host: Any) -> AgentRuntimeASGI:
    agent: AgentRuntimeASGI = host.routes[0].app
    return agent


@pytest.mark.parametrize("host", [composed, attached, wrapped])
async def test_startup_failure_fail_takes_the_host_down_too(
    tmp_path: Path, host: Any, logged: Callable[[], list[str]]
) -> None:
    (tmp_path / "agentapp.yaml").write_text("server: {startup_failure: fail}\n")
    async with lifespan(host(AgentRuntimeASGI(tmp_path))) as server:
        assert server.sent == ["startup.failed"]
        assert re.search(r"app\.py: not found", server.message)


async def test_startup_failure_degrade_lets_a_root_app_come_up(
    tmp_path: Path, logged: Callable[[], list[str]]
) -> None:
    (tmp_path / "agentapp.yaml").write_text("server: {startup_failure: degrade}\n")
    agent = AgentRuntimeASGI(tmp_path)
    async with lifespan(agent) as server:
        assert server.sent == ["startup.complete"]
        assert len(logged()) == 1
        health = await ask(agent)
        assert (health.status, health.json["status"]) == (503, "unhealthy")
    assert server.sent == ["startup.complete", "shutdown.complete"]


async def test_start_raises_what_is_wrong_and_can_be_called_again(tmp_path: Path) -> None:
    agent = AgentRuntimeASGI(tmp_path)
    for _ in range(2):
        with pytest.raises(AgentRuntimeError, match=r"agentapp\.yaml"):
            await agent.start()
    (tmp_path / "agentapp.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(APP)
    await agent.start()
    assert (await ask(agent)).status == 200
    await agent.stop()


async def test_a_secret_stays_out_of_every_message(
    tmp_path: Path, logged: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "s3cret-value")
    (tmp_path / "agentapp.yaml").write_text(
        "session: {backend: memory}\n"
        "models: {main: {provider: '${THE_KEY}:factory', model: m, api_key: '${THE_KEY}'}}\n"
    )
    (tmp_path / "app.py").write_text(APP)
    agent = AgentRuntimeASGI(tmp_path)
    async with lifespan(agent) as server:
        assert "models.main" in server.message
        assert "s3cret" not in server.message
    answer = await invoke(agent)
    assert b"s3cret" not in answer.content
    assert "s3cret" not in "".join(logged())
