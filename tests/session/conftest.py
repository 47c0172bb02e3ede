"""Session stores of every backend, and folders to put them in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from asgi_agentrt._concurrency import on_asyncio
from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import SessionStore, open_store
from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt._session._json_store import JsonStore
from asgi_agentrt._session._memory import MemoryStore
from tests.support.redis_server import RedisServer, needs_redis, redis_server

from .doubles import DictSession


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture
async def json_store(folder: Path) -> AsyncGenerator[JsonStore]:
    store = JsonStore(folder)
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture(scope="session")
def redis() -> Generator[RedisServer]:
    """A Redis that all tests share; it is empty whenever a store is opened."""
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "json", "agentscope", pytest.param("redis", marks=needs_redis)])
async def store(request: pytest.FixtureRequest) -> AsyncGenerator[SessionStore]:
    """A store of each backend."""
    async with AsyncExitStack() as stack:
        match request.param:
            case "memory":
                yield MemoryStore()
            case "agentscope":
                yield AgentScopeStore(DictSession())
            case "json":
                json_store = JsonStore(request.getfixturevalue("folder"))
                await json_store.open()
                stack.push_async_callback(json_store.aclose)
                yield json_store
            case _:
                if not on_asyncio():
                    pytest.skip("redis-py knows asyncio only")
                server: RedisServer = request.getfixturevalue("redis")
                config = SessionConfig(backend="redis", url=server.url)
                store = await stack.enter_async_context(open_store(config, Path()))
                await store._client.flushall()  # type: ignore[attr-defined]  # behind the protocol
                yield store
