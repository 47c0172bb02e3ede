"""`agentrt run`, in processes of its own: what it serves, and how it ends."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.platform_server import RESTART, open_platform

from .conftest import Agentrt, Process, Spawn

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT]

ECHO = """\
from asgi_agentrt import AgentApp

class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield "version one"
"""

ENDLESS = """\
import anyio
from asgi_agentrt import AgentApp

class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield "first"
        await anyio.sleep_forever()
"""

SLOW_START = """\
import anyio
from asgi_agentrt import AgentApp

class App(AgentApp):
    async def on_startup(self):
        print("starting", flush=True)
        await anyio.sleep_forever()

    async def __call__(self, msg, ctx):
        yield "never"
"""

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    def make(app: str = ECHO, config: str = "session: {backend: memory}\n") -> Path:
        folder = tmp_path / "project"
        folder.mkdir()
        (folder / "app.py").write_text(app)
        (folder / "agentapp.yaml").write_text(config)
        return folder

    return make


def url_of(process: Process) -> str:
    line = process.line()
    assert line.startswith("serving http://"), line + process.wait().err
    return line.removeprefix("serving ")


def call(url: str, **headers: str) -> httpx.Response:
    body = {"session_id": "s1", "message": {"name": "u", "content": "hi", "role": "user"}}
    return httpx.post(url + "/invoke", json=body, headers=headers, timeout=10)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_new_project_runs_at_once_and_ends_with_code_0(
    agentrt: Agentrt, spawn: Spawn, number: signal.Signals
) -> None:
    assert agentrt("init", "demo").code == 0
    process = spawn("run", "demo", "--port", "0")
    url = url_of(process)
    assert httpx.get(url + "/health").json()["started_by"] == "lifespan"
    answer = agentrt("invoke", url, "Hello there", "--session", "s1")
    assert answer == (0, "(1) You said: Hello there\n", "")
    process.signal(number)
    outcome = process.wait()
    assert (outcome.code, outcome.out) == (0, "")
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize("signals", ["auto", "off"])
def test_an_open_stream_gets_its_last_event_before_the_end(
    project: Project, spawn: Spawn, number: signal.Signals, signals: str
) -> None:
    config = "session: {backend: memory}\nserver: {drain_timeout: 0.2, signals: " + signals + "}\n"
    process = spawn("run", str(project(ENDLESS, config)), "--port", "0")
    client = spawn("invoke", url_of(process), "hi", "--session", "s1", "--json")
    assert '"first"' in client.line()
    process.signal(number)
    answer = client.wait()
    assert '"done":true' in answer.out.splitlines()[-1]
    outcome = process.wait()
    assert outcome.code == 0
    assert "Traceback" not in outcome.err


def test_a_signal_during_the_start_ends_it(project: Project, spawn: Spawn) -> None:
    process = spawn("run", str(project(SLOW_START)), "--port", "0")
    assert process.line() == "starting"
    process.signal(signal.SIGTERM)
    outcome = process.wait()
    assert (outcome.code, outcome.out) == (0, "")
    assert "Traceback" not in outcome.err


def test_flags_win_over_the_configuration(project: Project, spawn: Spawn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = f"session: {{backend: memory}}\nserver: {{host: 127.0.0.1, port: {port}}}\n"
        folder = str(project(config=config))
        outcome = spawn("run", folder).wait()
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err == (
            f"agentrt: port {port} of 127.0.0.1 is in use; --port takes another, 0 a free one\n"
        )
        process = spawn("run", folder, "--host", "localhost", "--port", "0")
        assert call(url_of(process)).status_code == 200


def test_ipv6_addresses_are_printed_as_urls(project: Project, spawn: Spawn) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    process = spawn("run", str(project()), "--host", "::1", "--port", "0")
    url = url_of(process)
    assert url.startswith("http://[::1]:")
    assert call(url).status_code == 200


def test_the_api_key_is_asked_for(project: Project, spawn: Spawn, agentrt: Agentrt) -> None:
    config = "session: {backend: memory}\nserver: {api_key: k1}\n"
    url = url_of(spawn("run", str(project(config=config)), "--port", "0"))
    assert agentrt("invoke", url, "hi", "--session", "s1").code == 1
    answer = agentrt("invoke", url, "hi", "--session", "s1", "--api-key", "k1")
    assert answer == (0, "version one\n", "")


@pytest.mark.parametrize(("level", "is_logged"), [("info", True), ("error", False)])
def test_the_log_goes_to_stderr_from_the_wanted_level_on(
    project: Project, spawn: Spawn, level: str, is_logged: bool
) -> None:
    process = spawn("run", str(project()), "--port", "0", "--log-level", level)
    call(url_of(process))
    process.signal(signal.SIGTERM)
    assert ("POST /invoke" in process.wait().err) == is_logged


@pytest.mark.parametrize(
    ("config", "arguments", "is_warned"),
    [
        ("{}", ["--host", "0.0.0.0"], True),
        ("{host: 0.0.0.0}", [], True),
        ("{host: 0.0.0.0, api_key: k1}", [], False),
        ("{host: 0.0.0.0}", ["--host", "localhost"], False),
        ("{}", ["--host", "127.0.0.2"], False),
    ],
)
def test_an_open_door_is_warned_of(
    project: Project, spawn: Spawn, config: str, arguments: list[str], is_warned: bool
) -> None:
    folder = project(config=f"session: {{backend: memory}}\nserver: {config}\n")
    process = spawn("run", str(folder), "--port", "0", *arguments)
    url_of(process)
    process.signal(signal.SIGTERM)
    assert ("set server.api_key" in process.wait().err) == is_warned


@pytest.mark.parametrize(
    ("app", "message"),
    [
        ("import nonsense_module", "No module named 'nonsense_module'"),
        ("class Application: ...", "has no App; define `class App(AgentApp)`"),
        (ECHO + "\n    async def on_startup(self): raise OSError('no disk')\n", "OSError: no disk"),
    ],
)
def test_an_app_that_does_not_start_is_one_message(
    project: Project, spawn: Spawn, app: str, message: str
) -> None:
    outcome = spawn("run", str(project(app)), "--port", "0", "--log-level", "warning").wait()
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("agentrt: ") == 1
    assert message in outcome.err
    assert "uvicorn" not in outcome.err


def test_a_start_that_may_fail_is_served_degraded(project: Project, spawn: Spawn) -> None:
    config = "session: {backend: memory}\nserver: {startup_failure: degrade}\n"
    process = spawn("run", str(project("class Application: ...", config)), "--port", "0")
    assert call(url_of(process)).status_code == 503
    process.signal(signal.SIGTERM)
    assert process.wait().code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder; give the path of a project\n"),
        (["."], "agentapp.yaml: there is no such file in "),
        ([".", "--config", "other.yaml"], "other.yaml: there is no such file in "),
    ],
)
def test_a_missing_file_is_one_message(
    agentrt: Agentrt, arguments: list[str], message: str
) -> None:
    outcome = agentrt("run", *arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith("agentrt: ")
    assert message in outcome.err


def test_every_fault_of_the_configuration_is_named(agentrt: Agentrt, project: Project) -> None:
    outcome = agentrt("run", str(project(config="modles: {}\nserver: {port: x}\n")))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 2)


@pytest.mark.parametrize("host", ["nosuch.invalid", "a..b", "192.0.2.1"])
def test_a_host_that_cannot_be_listened_on_is_one_message(
    project: Project, spawn: Spawn, host: str
) -> None:
    process = spawn("run", str(project()), "--host", host, "--port", "0", "--log-level", "error")
    outcome = process.wait()
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert outcome.err.startswith("agentrt: cannot listen on ")


def test_without_uvicorn_the_line_that_installs_it_is_named(
    agentrt: Agentrt, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    outcome = agentrt("run", str(project()))
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (1, "", 1)
    assert 'pip install "asgi-agentrt[server]"' in outcome.err


def test_without_watchfiles_the_line_that_installs_it_is_named(
    agentrt: Agentrt, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    outcome = agentrt("run", str(project()), "--reload")
    assert outcome.err == "agentrt: --reload needs watchfiles: pip install watchfiles\n"
    assert outcome.code == 1


def test_reload_switches_to_the_new_code_and_survives_bad_code(
    project: Project, spawn: Spawn
) -> None:
    """The session file that each call writes is no reason to reload."""
    pytest.importorskip("watchfiles")
    folder = project(config="session: {backend: json, save_dir: ./state}\n")
    process = spawn("run", str(folder), "--port", "0", "--reload")
    url = url_of(process)
    assert "version one" in call(url).text
    (folder / "app.py").write_text("class Application: ...\n")
    process.log_until("the reload failed")
    assert "version one" in call(url).text
    (folder / "app.py").write_text(ECHO.replace("one", "two"))
    process.log_until("reloaded")
    assert "version two" in call(url).text
    process.signal(signal.SIGTERM)
    outcome = process.wait()
    assert outcome.code == 0
    assert outcome.err.count("changed, reloading") == 2


def test_a_restart_of_the_platform_drains_and_ends_with_code_0(
    project: Project, spawn: Spawn
) -> None:
    with open_platform() as platform:
        platform.on_config.append(RESTART)
        config = (
            "session: {backend: memory}\n"
            f"platform: {{endpoint: '{platform.url}', instance_id: i, heartbeat_interval: 0.2}}\n"
        )
        folder = str(project(config=config))
        process = spawn("run", folder, "--port", "0")
        outcome = process.wait()
        assert outcome.code == 0
        assert outcome.out.startswith("serving http://")
        assert "Traceback" not in outcome.err
        assert platform.beats[-1]["status"] == "stopping"
        heard = len(platform.received)
        process = spawn("run", folder, "--port", "0", "--no-platform")
        url_of(process)
        process.signal(signal.SIGTERM)
        assert process.wait().code == 0
        assert len(platform.received) == heard
