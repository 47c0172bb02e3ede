"""Agents that use MCP servers, in a server of their own: what a client reads when these fail."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.mcp_server import McpProcess, mcp_process
from tests.support.process import running
from tests.support.scripted_llm import ScriptedLLM

from .invoking import (
    GENERATION,
    MISTAKES,
    ROOT_APP,
    Answer,
    Server,
    answer_of,
    assert_no_mistake,
    calling,
    processes_with,
    project,
    served,
    stdio,
    until,
)

pytestmark = pytest.mark.skipif(not GENERATION, reason="needs AgentScope")

TRANSPORTS = ("streamable_http", "sse", "stdio")


def over(process: McpProcess, **more: Any) -> dict[str, Any]:
    """Return the config entry of a server that speaks HTTP."""
    return {"transport": process.transport, "url": process.url, **more}


@dataclass
class House:
    """A server whose project has one MCP server a transport, all with tools of the same names.

    Its models are called `TRANSPORT_TOOL`, and `impatient_slow` for a second entry of the first.
    """

    server: Server
    processes: dict[str, McpProcess]

    def call(self, transport: str, tool: str) -> Answer:
        """Let the agent call a tool; the turn must end as a turn does."""
        model = f"{transport}_{tool}"
        answer = self.server.invoke(session=model, metadata={"model": model})
        assert not answer.failed
        assert answer.text == "Done.", answer
        assert len(answer.blocks("tool_call")) == 1
        return answer

    def kill(self, transport: str) -> None:
        """Kill the transport's server from outside, whatever it does."""
        if transport == "stdio":
            os.kill(int(self.call("stdio", "pid").result), signal.SIGKILL)
        else:
            self.processes[transport].kill()

    def bring_back(self, transport: str) -> None:
        """Start the transport's server again and wait until the runtime has noticed."""
        if transport != "stdio":
            self.processes[transport].start()
        self.server.until_status("healthy")


MARK = f"AGENTRT_TEST={os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture(scope="module")
def house(
    scripted_server: ScriptedLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    name, value = MARK.split("=")
    with mcp_process("streamable_http") as web, mcp_process("sse") as events:
        tools: list[tuple[str, dict[str, Any]]] = [
            ("add", {"a": 2, "b": 3}),
            ("pid", {}),
            ("die", {}),
            ("slow", {"seconds": 60}),
        ]
        models = {
            f"{transport}_{tool}": calling(
                transport, tool, scripted_server.base_url, renamed=index > 0, **given
            )
            for index, transport in enumerate((*TRANSPORTS, "impatient"))
            for tool, given in tools
        }
        servers = {
            "streamable_http": over(web, timeout=5),
            "sse": over(events, timeout=5),
            "stdio": stdio(env={name: value}, timeout=20),
            "impatient": over(web, call_timeout=0.5, timeout=5),
        }
        config = {"models": models, "mcp_servers": servers}
        # mcp logs the traceback of a connection that was lost, with a logger of its own.
        mistakes = tuple(mistake for mistake in MISTAKES if mistake != "Traceback")
        folder = project(tmp_path_factory.mktemp("house"), config)
        with served(folder, mistakes=mistakes) as server:
            assert processes_with(MARK)
            yield House(server, {"streamable_http": web, "sse": events})
    assert not processes_with(MARK)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_calls_a_tool_and_its_client_reads_the_result(
    house: House, transport: str
) -> None:
    answer = house.call(transport, "add")
    assert answer.result == "5"
    [call] = answer.blocks("tool_call")
    assert json.loads(call["input"]) == {"a": 2, "b": 3}
    [result] = answer.blocks("tool_result")
    assert (result["id"], result["name"]) == (call["id"], call["name"])
    assert list(result) == ["type", "id", "name", "output"]


def test_tools_of_one_name_are_each_servers_own(house: House) -> None:
    assert len({house.call(transport, "pid").result for transport in TRANSPORTS}) == 3


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_dies_between_runs_degrades_the_app_until_it_is_back(
    house: House, transport: str
) -> None:
    house.kill(transport)
    first = house.call(transport, "add").result
    if transport == "stdio":  # started again by the call, unless that was what told of the death
        assert first == "5" or "went down during the call" in first
    else:
        assert "down" in first
        assert house.server.health()["status"] == "degraded"
        assert house.server.health()["mcp_servers"][transport] == "down"
        other = "sse" if transport == "streamable_http" else "streamable_http"
        assert house.call(other, "add").result == "5"
    house.bring_back(transport)
    assert house.call(transport, "add").result == "5"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_that_dies_in_the_middle_of_a_call_ends_the_call_only(
    house: House, transport: str
) -> None:
    started = time.monotonic()
    if transport == "stdio":
        answer = house.call(transport, "die")
    else:
        model = f"{transport}_slow"
        with house.server.stream(session="dying", metadata={"model": model}) as response:
            parts = response.iter_raw()
            stream = b""
            while b"tool_call" not in stream:
                stream += next(parts)
            house.kill(transport)
            answer = answer_of(stream + b"".join(parts))
    assert "went down during the call" in answer.result
    assert answer.text == "Done."
    assert time.monotonic() - started < 15
    house.bring_back(transport)
    assert house.call(transport, "add").result == "5"


def test_a_tool_that_hangs_ends_with_its_time(house: House) -> None:
    started = time.monotonic()
    assert "did not answer within 0.5 seconds" in house.call("impatient", "slow").result
    assert time.monotonic() - started < 10
    assert house.call("impatient", "add").result == "5"
    assert house.server.health()["status"] == "healthy"


def test_a_server_that_freezes_ends_nothing_but_its_calls(house: House) -> None:
    house.processes["streamable_http"].freeze()
    assert "did not answer within 0.5 seconds" in house.call("impatient", "add").result
    house.processes["streamable_http"].kill()
    house.bring_back("streamable_http")
    assert house.call("impatient", "add").result == "5"


def test_many_sessions_use_one_connection_at_once(house: House) -> None:
    answers: list[str] = []

    def call(number: int) -> None:
        answer = house.server.invoke(session=f"at once {number}", metadata={"model": "sse_add"})
        answers.append(answer.result)

    threads = [threading.Thread(target=partial(call, number)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == ["5"] * 8


# Starting


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_of_its_own_ends_when_a_required_mcp_server_is_down(
    tmp_path: Path, transport: str
) -> None:
    entry = over(McpProcess(transport)) if transport != "stdio" else stdio(command="/no/such")
    folder = project(tmp_path, {"mcp_servers": {"search": entry}})
    (folder / "main.py").write_text(ROOT_APP)
    with running([sys.executable, "-m", "uvicorn", "main:app", "--port", "0"], cwd=folder) as root:
        assert root.wait(limit_s=30) == 3
    why = "command not found" if transport == "stdio" else "connection refused"
    assert f"could not start: mcp_servers.search: {why}" in root.output
    assert root.output.count("mcp_servers.search") == 1
    assert_no_mistake(root.output)


@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
def test_a_host_comes_up_without_a_required_mcp_server_and_the_agent_follows_it(
    tmp_path: Path, scripted: ScriptedLLM, transport: str
) -> None:
    with mcp_process(transport, started=False) as process:
        config = {
            "models": {"main": calling("search", "add", scripted.base_url, a=2, b=3)},
            "mcp_servers": {"search": over(process)},
        }
        with served(project(tmp_path, config), in_host=True) as server:
            assert server.health()["status"] == "unhealthy"
            response = server.ask()
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "NOT_READY"
            assert int(response.headers["retry-after"]) >= 1
            process.start()
            until(lambda: server.ask().status_code == 200, "the agent is up")
            assert server.invoke(session="s2").result == "5"
            assert "mcp_servers.search: connection refused" in server.process.output


@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
def test_what_is_not_required_comes_later_without_a_restart(
    tmp_path: Path, scripted: ScriptedLLM, transport: str
) -> None:
    with mcp_process(transport, started=False) as process:
        config = {
            "models": {"main": calling("search", "add", scripted.base_url, a=2, b=3)},
            "mcp_servers": {"search": over(process, required=False)},
        }
        with served(project(tmp_path, config)) as server:
            health = server.client.get(f"{server.url}/health")
            assert health.status_code == 200
            assert health.json()["status"] == "degraded"
            assert health.json()["mcp_servers"] == {"search": "down"}
            answer = server.invoke()
            assert not answer.failed
            assert answer.text == "Done."
            assert "NotFound" in answer.result
            process.start()
            server.until_status("healthy")
            assert server.invoke().result == "5"


def test_a_signal_in_mid_call_leaves_neither_connections_nor_processes(
    tmp_path: Path, scripted: ScriptedLLM
) -> None:
    """The call is cancelled when its time to drain is over; its client reads a last event."""
    name, value = f"{MARK}-signal".split("=")
    config = {
        "models": {"main": calling("local", "slow", scripted.base_url, seconds=60)},
        "mcp_servers": {"local": stdio(env={name: value})},
        "server": {"drain_timeout": 0.5},
    }
    with served(project(tmp_path, config)) as server:
        assert processes_with(f"{MARK}-signal")
        with server.stream() as response:
            parts = response.iter_raw()
            stream = b""
            while b"tool_call" not in stream:
                stream += next(parts)
            server.process.send(signal.SIGTERM)
            answer = answer_of(stream + b"".join(parts))
        assert answer.failed
        assert answer.messages[-1]["error"]["code"] == "CANCELLED"
        server.process.wait()
    assert "run of s1 ended: shutdown" in server.process.output
    assert "app stopped" in server.process.output
    assert not processes_with(f"{MARK}-signal")
