"""MCP servers come up, serve and are closed: any transport, any task, and nothing is left."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt._agentscope._mcp import McpServer
from asgi_agentrt._agentscope._mcp_faults import McpCallError
from tests.support import mcp_harness as harness
from tests.support.mcp_harness import LIMIT_S, http, running, stdio, text, until
from tests.support.mcp_server import McpProcess, mcp_process

pytestmark = [
    pytest.mark.skipif(not harness.GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
HTTP = ("streamable_http", "sse")


@pytest.mark.parametrize("transport", [*HTTP, "stdio"])
async def test_a_server_comes_up_lists_its_tools_and_answers_calls(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport, started=transport != "stdio") as process:
        server = stdio() if transport == "stdio" else http(process)
        assert (server.state, server.tools) == ("connecting", ())
        async with running(server):
            assert (server.state, server.reason) == ("up", None)
            assert {"add", "echo", "slow", "fail", "die"} <= set(server.tools)
            assert text(await server.call_tool("add", {"a": 2, "b": 3})) == "5"
        assert (server.state, server.reason) == ("closed", None)


async def test_many_calls_at_once_share_a_connection() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("streamable_http") as process:
        server = http(process)
        async with running(server):
            calls = [server.call_tool("add", {"a": n, "b": 1}) for n in range(30)]
            results = await asyncio.gather(*calls)
    assert [text(one) for one in results] == [str(n + 1) for n in range(30)]


@pytest.mark.parametrize("transport", HTTP)
async def test_headers_of_the_config_reach_the_server(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport) as process:
        server = http(process, headers={"Authorization": "Bearer s3cret"})
        async with running(server):
            result = await server.call_tool("header", {"name": "authorization"})
    assert text(result) == "Bearer s3cret"


async def test_a_stdio_server_gets_its_environment_and_runs_in_the_project(tmp_path: Path) -> None:
    folder = str(tmp_path)
    server = stdio(cwd=folder, env={"MCP_MODE": "loud"})
    with anyio.fail_after(LIMIT_S):
        async with running(server):
            assert text(await server.call_tool("env", {"name": "MCP_MODE"})) == "loud"
            assert text(await server.call_tool("cwd", {})) == folder


async def test_servers_are_closed_in_any_order_by_any_task() -> None:
    """First in, first out, each in another task than the one that started it."""
    with (
        anyio.fail_after(LIMIT_S),
        mcp_process("streamable_http") as one,
        mcp_process("sse") as two,
        mcp_process("streamable_http") as three,
    ):
        before = harness.other_tasks()
        servers = [http(one), http(two), stdio(), http(three)]
        for server in servers:
            server.start()
        for server in servers:
            await server.settled()
        for server in servers:
            await asyncio.create_task(server.aclose())
        assert [server.state for server in servers] == ["closed"] * 4
        assert harness.other_tasks() == before


async def test_closing_twice_at_once_and_never_started_is_fine() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server, unused = http(process), http(process)
        server.start()
        server.start()
        await server.settled()
        await asyncio.gather(server.aclose(), server.aclose())
        await server.aclose()
        await unused.aclose()
        await unused.settled()
        assert (server.state, unused.state) == ("closed", "closed")
        with pytest.raises(McpCallError, match="has been closed"):
            await server.call_tool("add", {"a": 1, "b": 1})
        server.start()
        assert server.state == "closed"


async def test_a_server_that_is_still_connecting_can_be_closed() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:

        async def never_answer(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await anyio.sleep_forever()

        tasks.start_soon(listener.serve, never_answer)
        process = McpProcess("streamable_http")
        process.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        server = http(process, timeout=60)
        with anyio.fail_after(LIMIT_S):
            server.start()
            await anyio.wait_all_tasks_blocked()
            states = [server.state]
            await server.aclose()
            await server.settled()
            states.append(server.state)
        assert states == ["connecting", "closed"]
        tasks.cancel_scope.cancel()


async def test_cancelling_the_task_that_closes_does_not_stop_the_closing() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("streamable_http") as process:
        server = http(process)
        server.start()
        await server.settled()
        closing = asyncio.create_task(server.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await until(server, "closed")
        await asyncio.wait({closing})


async def test_closing_ends_the_calls_that_are_under_way() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server = http(process)
        async with running(server):
            call = asyncio.create_task(server.call_tool("slow", {"seconds": 60}))
            await anyio.wait_all_tasks_blocked()
            await server.aclose()
            with pytest.raises(McpCallError, match="was closed during the call"):
                await call


async def test_the_connection_sees_no_context_variable_of_the_task_that_starts_it() -> None:
    secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="nothing")
    seen: list[str] = []

    class Client:
        async def connect(self) -> None:
            seen.append(secret.get())

        async def close(self) -> None:
            seen.append(secret.get())

        async def list_tools(self) -> list[Any]:
            return []

        async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
            raise AssertionError

    entry = harness.config(transport="stdio", command="unused")
    server = McpServer("srv", entry, Client, timing=harness.FAST)
    secret.set("of a request")
    with anyio.fail_after(LIMIT_S):
        async with running(server):
            assert server.state == "up"
    assert seen == ["nothing", "nothing"]


async def test_no_process_is_left_of_a_stdio_server() -> None:
    server = stdio()
    before = harness.children()
    with anyio.fail_after(LIMIT_S):
        async with running(server):
            process_id = int(text(await server.call_tool("pid", {})))
            assert process_id in harness.children()
        assert not harness.exists(process_id)
        assert harness.children() <= before


@pytest.mark.parametrize("transport", [*HTTP, "stdio"])
async def test_opening_and_closing_again_and_again_leaves_nothing(transport: str) -> None:
    with anyio.fail_after(90), mcp_process(transport, started=transport != "stdio") as process:
        before = await _cycle(transport, process)
        afters = [
            await _cycle(transport, process) for _ in range(5 if transport == "stdio" else 20)
        ]
        assert afters[-1] == before


async def _cycle(transport: str, process: McpProcess) -> tuple[int, int, int]:
    server = stdio() if transport == "stdio" else http(process)
    async with running(server):
        assert text(await server.call_tool("echo", {"text": "hi"})) == "hi"
    gc.collect()
    return len(harness.other_tasks()), harness.open_files(), len(harness.children())


async def test_each_change_of_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, logger="asgi_agentrt"),
        anyio.fail_after(LIMIT_S),
        mcp_process("sse", started=False) as process,
    ):
        server = http(process)
        async with running(server):
            for _ in range(3):
                await server.changed()
            await anyio.to_thread.run_sync(process.start)
            await until(server, "up")
            await server.call_tool("add", {"a": 1, "b": 1})
            await anyio.to_thread.run_sync(process.kill)
            await until(server, "down")
    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name.startswith("asgi_agentrt")
    ]
    assert lines[0] == ("WARNING", "MCP server srv is down: connection refused")
    assert lines[1] == ("INFO", f"MCP server srv is up with {len(server.tools)} tools")
    assert len(lines) <= 3  # the last one comes when closing has told the cause


def test_the_harness_counts_this_process() -> None:
    """A leak test that sees nothing would prove nothing."""
    before = harness.open_files()
    reader, writer = os.pipe()
    assert harness.open_files() == before + 2
    os.close(reader)
    os.close(writer)
