"""Redis killed, paused, emptied, full, slow and cut off: clear errors, and nothing lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import SessionKey, Sessions, open_store
from asgi_agentrt.exceptions import SessionConflictError, SessionError
from tests.support.redis_server import RedisServer, needs_redis, redis_server

pytestmark = needs_redis
KEY = SessionKey("ann", "s1")
# Connecting anew may be what takes too long.
LATE = r"^cannot (load|save) the session in Redis: (Timeout|Connection)Error$"


@pytest.fixture(params=[("asyncio", {"debug": True})], ids=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """redis-py knows asyncio only."""
    return request.param


@pytest.fixture
def server() -> Generator[RedisServer]:
    """A Redis that forgets nothing that it has acknowledged."""
    with redis_server(["--appendonly", "yes", "--appendfsync", "always"]) as server:
        yield server


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_agentrt._session._redis_store._ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr("asgi_agentrt._session._redis_store._CONNECT_TIMEOUT_S", 0.5)


@asynccontextmanager
async def open_sessions(url: str) -> AsyncGenerator[Sessions]:
    async with open_store(SessionConfig(backend="redis", url=url), Path()) as store:
        yield Sessions(store)


async def command(server: RedisServer, *words: str) -> None:
    await anyio.run_process(["redis-cli", "-s", str(server.socket), *words])


async def test_what_was_acknowledged_outlives_a_killed_redis(server: RedisServer) -> None:
    async with open_sessions(server.url) as sessions:
        for number in range(3):
            await sessions.lines.enter(KEY, f"run {number}", lease_s=60)
            hold = sessions.hold(KEY, f"run {number}")
            assert await hold.load_state() == ({"n": number} if number else {})
            server.kill()
            with anyio.fail_after(5):
                for what, call in (
                    ("save", hold.save_state({"n": -1})),
                    ("load", sessions.load_context_state(KEY)),
                    ("enter the line of", sessions.lines.enter(KEY, "other", lease_s=60)),
                    ("stay in the line of", sessions.lines.renew(KEY, "run", lease_s=60)),
                    ("leave the line of", sessions.lines.leave(KEY, "run")),
                    ("delete", sessions.delete(KEY)),
                ):
                    text = f"^cannot {what} the session in Redis: ConnectionError$"
                    with pytest.raises(SessionError, match=text):
                        await call
            assert sessions.state == "down"
            await anyio.to_thread.run_sync(server.start)
            # The line is still there, too.
            standing = await sessions.lines.renew(KEY, f"run {number}", lease_s=60)
            assert standing.position == 0
            await hold.save_state({"n": number + 1})
            await sessions.lines.leave(KEY, f"run {number}")
            assert (sessions.state, sessions.reason) == ("up", None)


async def test_saves_go_on_through_restarts(server: RedisServer) -> None:
    """Every number that was acknowledged is there; at most the one under way is beyond."""
    acknowledged = tried = 0
    async with open_sessions(server.url) as sessions, anyio.create_task_group() as tasks:

        async def save() -> None:
            nonlocal acknowledged, tried
            while True:
                tried += 1
                try:
                    await sessions.save_context_state(KEY, {"n": tried})
                except SessionError:
                    await anyio.sleep(0.01)
                else:
                    acknowledged = tried

        tasks.start_soon(save)
        for _ in range(4):
            seen = acknowledged
            with anyio.fail_after(10):
                while acknowledged < seen + 20:  # noqa: ASYNC110  the saver is to be disturbed
                    await anyio.sleep(0.005)
            server.kill()
            await anyio.to_thread.run_sync(server.start)
        tasks.cancel_scope.cancel()
    async with open_sessions(server.url) as sessions:
        assert (await sessions.load_context_state(KEY))["n"] in range(acknowledged, tried + 1)
    assert acknowledged >= 80


async def test_a_paused_redis_is_an_error_in_time_and_goes_on(server: RedisServer) -> None:
    async with open_sessions(server.url) as sessions:
        await sessions.lines.enter(KEY, "run", lease_s=60)
        hold = sessions.hold(KEY, "run")
        await hold.save_state({"n": 1})
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with anyio.fail_after(5):
                with pytest.raises(SessionError, match=LATE):
                    await sessions.load_context_state(KEY)
                with pytest.raises(SessionError, match=LATE):
                    await hold.save_state({"n": 2})
        finally:
            os.kill(server.pid, signal.SIGCONT)
        # It may carry out now what it was sent then; the run's next save follows on either.
        for number in range(3, 6):
            await hold.save_state({"n": number})
            assert await sessions.load_context_state(KEY) == {"n": number}


@pytest.mark.parametrize("pause", [("CLIENT", "PAUSE", "1500"), ("DEBUG", "SLEEP", "1.5")])
async def test_a_redis_that_takes_a_break_is_an_error_in_time(pause: tuple[str, ...]) -> None:
    with redis_server(["--enable-debug-command", "yes"]) as server:
        async with open_sessions(server.url) as sessions, anyio.create_task_group() as tasks:
            await sessions.save_context_state(KEY, {"n": 1})
            tasks.start_soon(command, server, *pause)
            await anyio.sleep(0.3)  # until the break has begun, which cannot be asked
            began = time.monotonic()
            with pytest.raises(SessionError, match=LATE):
                await sessions.save_context_state(KEY, {"n": 2})
            assert time.monotonic() - began < 1.1
            with anyio.fail_after(10):
                while True:
                    try:
                        await sessions.save_context_state(KEY, {"n": 3})
                        break
                    except SessionError:
                        pass
            assert await sessions.load_context_state(KEY) == {"n": 3}


async def test_an_emptied_redis_is_an_empty_one(server: RedisServer) -> None:
    async with open_sessions(server.url) as sessions:
        await sessions.save_context_state(KEY, {"n": 1})
        await sessions.lines.enter(KEY, "old", lease_s=60)
        hold = sessions.hold(KEY, "old")
        state = await hold.load_state()
        await command(server, "FLUSHALL")
        await command(server, "SCRIPT", "FLUSH")
        # The run finds out, instead of bringing back a part of what is gone.
        with pytest.raises(SessionConflictError):
            await hold.save_state({**state, "n": 2})
        assert (await sessions.lines.renew(KEY, "old", lease_s=60)).position is None
        assert (await sessions.lines.enter(KEY, "new", lease_s=60)).position == 0
        hold = sessions.hold(KEY, "new")
        assert await hold.load_state() == {}
        await hold.save_state({"n": 3})


async def test_a_full_redis_keeps_the_old_state_and_recovers(server: RedisServer) -> None:
    async with open_sessions(server.url) as sessions:
        await sessions.save_context_state(KEY, {"n": 1})
        await sessions.lines.enter(KEY, "run", lease_s=60)
        await command(server, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        await command(server, "CONFIG", "SET", "maxmemory", "1mb")
        hold = sessions.hold(KEY, "run")
        assert await hold.load_state() == {"n": 1}
        with pytest.raises(SessionError, match="cannot save the session in Redis: OutOfMemory"):
            await hold.save_state({"n": 2, "filling": "x" * 100_000})
        with pytest.raises(SessionError, match="cannot enter the line of the session in Redis"):
            await sessions.lines.enter(KEY, "next", lease_s=60)
        assert await sessions.load_context_state(KEY) == {"n": 1}
        # Leaving needs no room.
        await sessions.lines.leave(KEY, "run")
        await command(server, "CONFIG", "SET", "maxmemory", "0")
        await hold.save_state({"n": 3})
        assert await sessions.load_context_state(KEY) == {"n": 3}


# ---- between us and Redis ------------------------------------------------------------------------


class Proxy:
    """Passes bytes on to a Redis, late, or cuts the connection instead of answering."""

    def __init__(self, server: RedisServer) -> None:
        self.delay_s = 0.0
        self.answers_to_lose = 0
        self._server = server

    async def serve(self, client: anyio.abc.ByteStream) -> None:
        async with (
            client,
            await anyio.connect_unix(self._server.socket) as upstream,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._pass, client, upstream, False)
            await self._pass(upstream, client, True)
            tasks.cancel_scope.cancel()

    async def _pass(
        self, source: anyio.abc.ByteStream, target: anyio.abc.ByteStream, is_answer: bool
    ) -> None:
        try:
            while True:
                received = await source.receive()
                await anyio.sleep(self.delay_s)
                if is_answer and self.answers_to_lose:
                    self.answers_to_lose -= 1
                    return
                await target.send(received)
        except (anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            return


@asynccontextmanager
async def proxied(server: RedisServer) -> AsyncGenerator[tuple[Proxy, Sessions]]:
    proxy = Proxy(server)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, proxy.serve)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with open_sessions(f"redis://127.0.0.1:{port}/0") as sessions:
            yield proxy, sessions
        tasks.cancel_scope.cancel()


async def test_a_slow_redis_is_slow_and_right(server: RedisServer) -> None:
    async with proxied(server) as (proxy, sessions):
        await sessions.save_context_state(KEY, {"n": 0})
        proxy.delay_s = 0.1
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    key = SessionKey("ann", f"s{number}")
                    tasks.start_soon(sessions.save_context_state, key, {"n": number})
            for number in range(10):
                found = await sessions.load_context_state(SessionKey("ann", f"s{number}"))
                assert found == {"n": number}


async def test_a_redis_that_is_too_slow_is_an_error_in_time(server: RedisServer) -> None:
    async with proxied(server) as (proxy, sessions):
        await sessions.save_context_state(KEY, {"n": 0})
        proxy.delay_s = 2
        with anyio.fail_after(1.5), pytest.raises(SessionError, match=LATE):
            await sessions.load_context_state(KEY)
        proxy.delay_s = 0
        assert await sessions.load_context_state(KEY) == {"n": 0}


async def test_a_lost_answer_is_asked_for_again_and_nothing_done_twice(
    server: RedisServer,
) -> None:
    async with proxied(server) as (proxy, sessions):
        await sessions.lines.enter(KEY, "run", lease_s=60)
        hold = sessions.hold(KEY, "run")
        await hold.save_state({"n": 1})
        proxy.answers_to_lose = 1
        await hold.save_state({"n": 2})
        proxy.answers_to_lose = 1
        assert (await sessions.lines.enter(KEY, "next", lease_s=60)).position == 1
        proxy.answers_to_lose = 1
        assert (await sessions.lines.renew(KEY, "next", lease_s=60)).position == 1
        proxy.answers_to_lose = 1
        await sessions.lines.leave(KEY, "next")
        assert proxy.answers_to_lose == 0
        await hold.save_state({"n": 3})
        assert await sessions.load_context_state(KEY) == {"n": 3}


async def test_a_connection_that_stays_cut_is_an_error_and_the_save_no_conflict(
    server: RedisServer,
) -> None:
    async with proxied(server) as (proxy, sessions):
        await sessions.lines.enter(KEY, "run", lease_s=60)
        hold = sessions.hold(KEY, "run")
        await hold.save_state({"n": 1})
        proxy.answers_to_lose = 100
        with pytest.raises(SessionError, match="cannot save the session in Redis: Connection"):
            await hold.save_state({"n": 2})
        proxy.answers_to_lose = 0
        await hold.save_state({"n": 3})
        assert await sessions.load_context_state(KEY) == {"n": 3}
