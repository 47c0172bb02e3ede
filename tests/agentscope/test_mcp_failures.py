"""MCP servers that are down, hang, die and come back: noticed, and never waited for long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.abc
import pytest

from asgi_agentrt._agentscope._mcp import McpServer
from asgi_agentrt._agentscope._mcp_faults import McpCallError
from asgi_agentrt._agentscope._mcp_owner import Timing
from tests.support import mcp_harness as harness
from tests.support.mcp_harness import LAZY, LIMIT_S, http, running, stdio, text, until
from tests.support.mcp_server import McpProcess, free_port, mcp_process

pytestmark = [
    pytest.mark.skipif(not harness.GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
HTTP = ("streamable_http", "sse")


@asynccontextmanager
async def silent_port(answer: bytes = b"") -> AsyncIterator[int]:
    """Listen on a port; whoever connects gets `answer`, then nothing, and is held on to."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def hold(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            if answer:
                with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    await stream.receive()
                    await stream.send(answer)
                return
            await anyio.sleep_forever()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hold)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def add(server: McpServer) -> str:
    return text(await server.call_tool("add", {"a": 2, "b": 3}))


# Down at the start


@pytest.mark.parametrize("transport", HTTP)
async def test_a_server_that_is_down_at_the_start_is_found_when_it_comes_up(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport, started=False) as process:
        server = http(process)
        async with running(server):
            assert (server.state, server.reason) == ("down", "connection refused")
            assert server.tools == ()
            with pytest.raises(McpCallError, match=r"srv is down \(connection refused\)"):
                await add(server)
            await anyio.to_thread.run_sync(process.start)
            await until(server, "up")
            assert "add" in server.tools
            assert server.reason is None
            assert await add(server) == "5"


@pytest.mark.parametrize("transport", HTTP)
async def test_connecting_to_a_server_that_never_answers_takes_no_longer_than_timeout(
    transport: str,
) -> None:
    before = harness.other_tasks()
    async with silent_port() as port:
        process = McpProcess(transport)
        process.port = port
        server = http(process, timeout=0.5, timing=LAZY)
        started = time.monotonic()
        with anyio.fail_after(LIMIT_S):
            async with running(server):
                assert (server.state, server.reason) == ("down", "no answer in time")
        assert time.monotonic() - started < 5
    assert harness.other_tasks() == before


@pytest.mark.parametrize("transport", HTTP)
async def test_a_refusal_names_its_status_and_leaves_the_event_loop_idle(transport: str) -> None:
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with silent_port(refusal) as port:
        process = McpProcess(transport)
        process.port = port
        once = Timing(backoff=60, backoff_limit=60)
        server = http(process, timing=once, timeout=5)
        with anyio.fail_after(LIMIT_S):
            async with running(server):
                assert server.state == "down"
                assert server.reason in ("HTTP status 401", "MCP error -32603")
                # A cancel scope that was left in the wrong task would spin from here on.
                assert await _rounds_of_the_loop(0.2) < 50


async def _rounds_of_the_loop(seconds: float) -> int:
    """Count how often the event loop looks for something to do while this task sleeps."""
    loop = asyncio.get_running_loop()
    selector = loop._selector  # type: ignore[attr-defined]  # asyncio has no public counter
    rounds, select = 0, selector.select

    def counting(timeout: float | None = None) -> object:
        nonlocal rounds
        rounds += 1
        return select(timeout)

    selector.select = counting
    try:
        await asyncio.sleep(seconds)
    finally:
        del selector.select
    return rounds


async def test_a_wrong_path_is_named_as_what_it_is() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        process.path = "/nothing/sse"
        server = http(process)
        async with running(server):
            assert (server.state, server.reason) == ("down", "HTTP status 404")


async def test_a_command_that_does_not_exist_is_a_reason_to_be_down(tmp_path: Path) -> None:
    server = stdio(command=str(tmp_path / "s3cret" / "command"), args=[])
    with anyio.fail_after(LIMIT_S):
        async with running(server):
            assert (server.state, server.reason) == ("down", "command not found")


async def test_a_command_that_ends_at_once_is_a_reason_to_be_down() -> None:
    server = stdio(args=["-c", "pass"])
    with anyio.fail_after(LIMIT_S):
        async with running(server):
            assert (server.state, server.reason) == ("down", "connection closed")


async def test_a_command_that_says_nothing_is_ended_after_timeout() -> None:
    before = harness.children()
    server = stdio(args=["-c", "import time; time.sleep(600)"], timeout=0.5, timing=LAZY)
    with anyio.fail_after(LIMIT_S):
        async with running(server):
            assert (server.state, server.reason) == ("down", "no answer in time")
            assert harness.children() <= before


async def test_no_secret_is_in_reasons_errors_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="asgi_agentrt")
    process = McpProcess("sse")
    process.port = free_port()
    url = f"http://user:s3cret@127.0.0.1:{process.port}/sse?key=s3cret"
    servers = [
        http(process, url=url, headers={"Authorization": "s3cret"}),
        stdio(command="/s3cret", env={"TOKEN": "s3cret"}, args=["s3cret"]),
    ]
    with anyio.fail_after(LIMIT_S):
        async with running(*servers):
            for server in servers:
                with pytest.raises(McpCallError) as caught:
                    await add(server)
                assert "s3cret" not in f"{server.reason} {caught.value} {server!r}"
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("asgi")]
    assert len(ours) == 2
    assert "s3cret" not in str(ours)


# Dying


@pytest.mark.parametrize("transport", HTTP)
async def test_the_death_of_an_idle_server_is_noticed_and_it_comes_back(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport) as process:
        server = http(process)
        async with running(server):
            assert await add(server) == "5"
            tools = server.tools
            await anyio.to_thread.run_sync(process.kill)
            await until(server, "down")
            assert server.tools == tools
            await anyio.to_thread.run_sync(process.start)
            await until(server, "up")
            assert await add(server) == "5"


async def test_a_stdio_server_that_was_killed_is_started_again() -> None:
    with anyio.fail_after(LIMIT_S):
        server = stdio()
        async with running(server):
            first = text(await server.call_tool("pid", {}))
            with pytest.raises(McpCallError, match="went down during the call"):
                await server.call_tool("die", {})
            assert text(await server.call_tool("pid", {})) != first
            assert not harness.exists(first)


@pytest.mark.parametrize("transport", [*HTTP, "stdio"])
async def test_a_call_ends_when_the_server_dies_in_the_middle_of_it(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport, started=transport != "stdio") as process:
        server = stdio() if transport == "stdio" else http(process)
        async with running(server):
            calls = [asyncio.create_task(server.call_tool("slow", {"seconds": 60}))]
            calls += [asyncio.create_task(server.call_tool("die", {}))]
            started = time.monotonic()
            for call in calls:
                with pytest.raises(McpCallError, match="went down during the call"):
                    await call
            assert time.monotonic() - started < 5
            # This task made the calls: nothing has cancelled it.
            current = asyncio.current_task()
            assert current is not None
            assert current.cancelling() == 0


@pytest.mark.parametrize("transport", HTTP)
async def test_a_server_that_was_started_anew_unnoticed_answers_the_next_call(
    transport: str,
) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport) as process:
        server = http(process, timing=LAZY)
        async with running(server):
            assert await add(server) == "5"
            await anyio.to_thread.run_sync(process.kill)
            await anyio.to_thread.run_sync(process.start)
            for _ in range(2):
                # It may be in the connection's end that the loss shows, and then the call is over.
                with contextlib.suppress(McpCallError):
                    assert await add(server) == "5"
                    break
            else:
                pytest.fail("a second call must reach the new server")


async def test_a_call_to_a_server_that_is_down_tries_it_at_once() -> None:
    patient = Timing(probe=0.2, busy_probe=0.1, backoff=0.1, backoff_limit=60, close=3)
    with anyio.fail_after(LIMIT_S), mcp_process("streamable_http", started=False) as process:
        server = http(process, timing=patient)
        async with running(server):
            server._owner._failures = 9  # the next attempt by itself is half a minute away
            await server.changed()
            await anyio.to_thread.run_sync(process.start)
            assert await add(server) == "5"


# Hanging


@pytest.mark.parametrize("transport", [*HTTP, "stdio"])
async def test_a_tool_that_is_too_slow_is_an_error_and_the_server_stays_up(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport, started=transport != "stdio") as process:
        make = stdio if transport == "stdio" else partial(http, process)
        server = make(call_timeout=0.5)
        async with running(server):
            started = time.monotonic()
            with pytest.raises(McpCallError, match=r"did not answer within 0\.5 seconds"):
                await server.call_tool("slow", {"seconds": 60})
            assert time.monotonic() - started < 5
            assert await add(server) == "5"
            assert server.state == "up"


@pytest.mark.parametrize("transport", HTTP)
async def test_a_server_that_works_on_a_call_and_answers_nothing_else_is_not_taken_for_dead(
    transport: str,
) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport) as process:
        server = http(process, timeout=1)
        async with running(server):
            assert text(await server.call_tool("block", {"seconds": 3})) == "unblocked"
            assert server.state == "up"


@pytest.mark.parametrize("transport", HTTP)
async def test_a_server_that_freezes_is_down_and_its_calls_end(transport: str) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport) as process:
        server = http(process, timeout=0.5, call_timeout=1)
        async with running(server):
            process.freeze()
            started = time.monotonic()
            with pytest.raises(McpCallError):
                await add(server)
            assert time.monotonic() - started < 4
            await until(server, "down")
            # Depending on when it was asked, it had not answered or the connection was in its end.
            assert server.reason in ("no answer in time", "connection closed", "connection lost")
            started = time.monotonic()
        assert time.monotonic() - started < 8


async def test_a_caller_that_gives_up_leaves_the_server_and_other_calls_alone() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("streamable_http") as process:
        server = http(process)
        async with running(server):
            other = asyncio.create_task(server.call_tool("slow", {"seconds": 1}))
            with anyio.move_on_after(0.2) as scope:
                await server.call_tool("slow", {"seconds": 60})
            assert scope.cancelled_caught
            native = asyncio.create_task(server.call_tool("slow", {"seconds": 60}))
            await asyncio.sleep(0)
            native.cancel()
            with pytest.raises(asyncio.CancelledError):
                await native
            assert text(await other) == "awake"
            assert await add(server) == "5"
            assert server.state == "up"


async def test_the_error_of_a_tool_says_nothing_about_the_server() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server = http(process)
        async with running(server):
            assert "Error executing tool fail" in text(await server.call_tool("fail", {}))
            with contextlib.suppress(Exception):
                await server.call_tool("nothing_of_this_name", {})
            assert await add(server) == "5"
            assert server.state == "up"


async def test_a_proxy_in_the_environment_is_not_gone_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server's own port is closed, and that is no reason: the proxy is what has to answer."""
    answer = b"HTTP/1.1 407 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with silent_port(answer) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "")
        process = McpProcess("sse")
        server = http(process, url=f"http://mcp.invalid:{free_port()}/sse", timing=LAZY)
        with anyio.fail_after(LIMIT_S):
            async with running(server):
                assert (server.state, server.reason) == ("down", "HTTP status 407")


def test_a_loop_that_goes_down_closes_the_connection() -> None:
    """As under `asyncio.run`, whose end cancels every task: no process may be left."""
    before = harness.children()

    async def forget() -> None:
        server = stdio()
        server.start()
        await server.settled()
        assert server.state == "up"

    asyncio.run(forget())
    assert harness.children() <= before


def test_the_interpreter_is_the_one_that_has_mcp() -> None:
    """The stdio servers above run with it."""
    assert Path(sys.executable).exists()
