"""Sessions in a real Redis."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import ABSENT, SessionKey, Sessions, SessionStore, open_store
from asgi_agentrt.exceptions import (
    SessionConflictError,
    SessionCorruptError,
    SessionError,
    StartupError,
)
from tests.support.process import running

SERVER = shutil.which("redis-server")
pytestmark = pytest.mark.skipif(
    SERVER is None or importlib.util.find_spec("redis") is None,
    reason="needs redis-server and redis-py",
)
KEY = SessionKey("ann", "s1")


@pytest.fixture(params=[("asyncio", {"debug": True})], ids=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """redis-py knows asyncio only."""
    return request.param


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A Redis that listens on a socket file only."""
    # Short: the path of a socket may have 107 bytes.
    socket = tmp_path_factory.mktemp("r") / "s"
    assert SERVER
    command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", "/tmp"]
    with running(command) as process:
        process.expect("eady to accept connections")
        yield socket


def config(server: Path, ttl: float | None = None, query: str = "") -> SessionConfig:
    return SessionConfig(backend="redis", url=f"unix://{server}{query}", ttl=ttl)


@pytest.fixture
async def store(server: Path) -> AsyncGenerator[SessionStore]:
    async with open_store(config(server), Path()) as store:
        await store._client.flushall()  # type: ignore[attr-defined]  # a look behind the protocol
        yield store


async def test_what_is_saved_is_loaded_and_versions_are_compared(store: SessionStore) -> None:
    document = {"memory": {"text": "é😀\ud83d", "big": ["x" * 1000] * 200}}
    assert await store.load(KEY) == (None, ABSENT)
    first = await store.save(KEY, document, ABSENT)
    assert await store.load(KEY) == (document, first)
    second = await store.save(KEY, {}, first)
    for stale in (ABSENT, first, "made up"):
        with pytest.raises(SessionConflictError):
            await store.save(KEY, document, stale)
    assert await store.load(KEY) == ({}, second)
    await store.delete(KEY)
    with pytest.raises(SessionConflictError):
        await store.save(KEY, document, second)
    assert await store.load(KEY) == (None, ABSENT)


async def test_of_many_concurrent_saves_of_a_version_one_wins(store: SessionStore) -> None:
    outcomes: list[bool] = []

    async def save(number: int) -> None:
        try:
            await store.save(KEY, {"n": {"is": number}}, ABSENT)
        except SessionConflictError:
            outcomes.append(False)
        else:
            outcomes.append(True)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(save, number)
    assert (outcomes.count(True), len(outcomes)) == (1, 20)


async def test_names_are_merged_and_users_are_apart(store: SessionStore) -> None:
    sessions = Sessions(store)
    await sessions.save_session_state("s1", "ann", memory={"n": 1})
    await sessions.save_context_state(KEY, {"n": 2})
    await sessions.save_session_state("b:c", "a", memory={"n": 3})
    memory: dict[str, Any] = {}
    await sessions.load_session_state("c", "a:b", memory=memory)
    assert memory == {}
    await sessions.load_session_state("s1", "ann", memory=memory)
    assert memory == {"n": 1}
    keys = await store._client.keys()  # type: ignore[attr-defined]  # a look behind the protocol
    assert sorted(keys) == [
        b"asgi_agentrt:{a@b%3ac}:session",
        b"asgi_agentrt:{ann@s1}:session",
    ]


async def test_sessions_expire_some_time_after_their_last_use(server: Path) -> None:
    async with open_store(config(server, ttl=100), Path()) as store:
        client: Any = store._client  # type: ignore[attr-defined]  # a look behind the protocol
        await client.flushall()
        version = await store.save(KEY, {"n": {}}, ABSENT)
        (name,) = await client.keys()
        assert 99_000 < await client.pttl(name) <= 100_000
        await client.pexpire(name, 5000)
        await store.load(KEY)
        assert await client.pttl(name) > 99_000
        await client.pexpire(name, 0)
        assert await store.load(KEY) == (None, ABSENT)
        with pytest.raises(SessionConflictError):
            await store.save(KEY, {"n": {}}, version)
    async with open_store(config(server), Path()) as store:
        await store.save(KEY, {"n": {}}, ABSENT)
        client = store._client  # type: ignore[attr-defined]  # a look behind the protocol
        assert await client.pttl(name) == -1


async def test_what_is_no_session_is_corrupt(store: SessionStore) -> None:
    client: Any = store._client  # type: ignore[attr-defined]  # a look behind the protocol
    name = "asgi_agentrt:{ann@s1}:session"
    await client.hset(name, mapping={"version": "v", "document": "{"})
    with pytest.raises(SessionCorruptError, match="the Redis key asgi_agentrt:"):
        await store.load(KEY)
    await client.hdel(name, "document")
    with pytest.raises(SessionCorruptError, match="no document"):
        await store.load(KEY)
    await client.set(name, "text")
    with pytest.raises(SessionError, match="cannot load the session in Redis: ResponseError"):
        await store.load(KEY)


async def test_losing_redis_is_an_error_and_its_return_is_enough(tmp_path: Path) -> None:
    assert SERVER
    socket = tmp_path / "s"
    command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", "/tmp"]
    with running(command) as process:
        await anyio.to_thread.run_sync(process.expect, "eady to accept connections")
        stack = open_store(config(socket), tmp_path)
        store = await stack.__aenter__()
        sessions = Sessions(store)
        await sessions.save_context_state(KEY, {"n": 1})
    with (
        anyio.fail_after(20),
        pytest.raises(SessionError, match="cannot load the session in Redis"),
    ):
        await sessions.load_context_state(KEY)
    assert (sessions.state, bool(sessions.reason)) == ("down", True)
    with running(command) as process:
        await anyio.to_thread.run_sync(process.expect, "eady to accept connections")
        assert await sessions.load_context_state(KEY) == {}
        assert (sessions.state, sessions.reason) == ("up", None)
        await stack.__aexit__(None, None, None)


async def test_no_redis_fails_the_start_without_showing_the_password(tmp_path: Path) -> None:
    url = f"unix://ann:hunter2@{tmp_path}/nothing"
    with (
        anyio.fail_after(20),
        pytest.raises(StartupError, match="session: cannot reach Redis") as got,
    ):
        async with open_store(SessionConfig(backend="redis", url=url), tmp_path):
            pass
    assert "hunter2" not in str(got.value)
