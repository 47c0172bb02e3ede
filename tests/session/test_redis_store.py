"""Sessions in a real Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator
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
from tests.support.redis_server import RedisServer, needs_redis

pytestmark = needs_redis
KEY = SessionKey("ann", "s1")


@pytest.fixture(params=[("asyncio", {"debug": True})], ids=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """redis-py knows asyncio only."""
    return request.param


def config(server: RedisServer, ttl: float | None = None) -> SessionConfig:
    return SessionConfig(backend="redis", url=server.url, ttl=ttl)


@pytest.fixture
async def store(redis: RedisServer) -> AsyncGenerator[SessionStore]:
    async with open_store(config(redis), Path()) as store:
        await store._client.flushall()  # type: ignore[attr-defined]  # a look behind the protocol
        yield store


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


async def test_sessions_expire_some_time_after_their_last_use(redis: RedisServer) -> None:
    async with open_store(config(redis, ttl=100), Path()) as store:
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
    async with open_store(config(redis), Path()) as store:
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


async def test_no_redis_fails_the_start_without_showing_the_password(tmp_path: Path) -> None:
    url = f"unix://ann:hunter2@{tmp_path}/nothing"
    with (
        anyio.fail_after(20),
        pytest.raises(StartupError, match="session: cannot reach Redis") as got,
    ):
        async with open_store(SessionConfig(backend="redis", url=url), tmp_path):
            pass
    assert "hunter2" not in str(got.value)
