"""Our own backends keep what is asked of any backend; and the checks find those that do not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._concurrency import on_asyncio
from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import (
    ABSENT,
    SessionKey,
    SessionLines,
    SessionStore,
    Standing,
    Stored,
    Version,
    open_store,
)
from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt.testing import (
    SESSION_LINES_CHECKS,
    SESSION_STORE_CHECKS,
    SHARED_STORE_CHECKS,
    Check,
    OpenStore,
    check_session_store,
)
from tests.support.redis_server import RedisServer, needs_redis

from .doubles import DictSession

STORE_CHECKS = pytest.mark.parametrize("check", SESSION_STORE_CHECKS, ids=lambda it: it.__name__)
LINES_CHECKS = pytest.mark.parametrize("check", SESSION_LINES_CHECKS, ids=lambda it: it.__name__)
SHARED_CHECKS = pytest.mark.parametrize("check", SHARED_STORE_CHECKS, ids=lambda it: it.__name__)


def opening(store: SessionStore) -> OpenStore:
    """Return what opens the same object each time."""

    @asynccontextmanager
    async def open_it() -> AsyncGenerator[SessionStore]:
        yield store

    return open_it


@pytest.fixture(
    params=["memory", "json", "json, with ttl", pytest.param("redis", marks=needs_redis)]
)
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    return opener(request, tmp_path, request.param)


@pytest.fixture(params=["json", pytest.param("redis", marks=needs_redis)])
def open_shared(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    return opener(request, tmp_path, request.param)


def opener(request: pytest.FixtureRequest, tmp_path: Path, backend: str) -> OpenStore:
    if backend == "memory":
        return opening(MemoryStore())
    if backend == "redis":
        server: RedisServer = request.getfixturevalue("redis")
        config = SessionConfig(backend="redis", url=server.url)
    else:
        config = SessionConfig(ttl=1000 if "ttl" in backend else None)

    def open_it() -> AbstractAsyncContextManager[SessionStore]:
        if backend == "redis" and not on_asyncio():
            pytest.skip("redis-py knows asyncio only")
        return open_store(config, tmp_path)

    return open_it


@STORE_CHECKS
async def test_our_stores_keep_sessions(open_one: OpenStore, check: Check) -> None:
    await check(open_one)


@LINES_CHECKS
async def test_our_stores_keep_lines(open_one: OpenStore, check: Check) -> None:
    await check(open_one)


@SHARED_CHECKS
async def test_our_stores_can_be_shared(open_shared: OpenStore, check: Check) -> None:
    await check(open_shared)


@STORE_CHECKS
async def test_a_class_of_agentscopes_kind_keeps_sessions_when_wrapped(check: Check) -> None:
    await check(opening(AgentScopeStore(DictSession())))


async def test_all_checks_are_one_call() -> None:
    await check_session_store(opening(MemoryStore()))
    await check_session_store(opening(AgentScopeStore(DictSession())), is_shared=False)


# ---- stores with one fault each ------------------------------------------------------------------


class LastWins(MemoryStore):
    async def save(self, key: SessionKey, document: Any, version: Version, /) -> Version:
        return await super().save(key, document, (await self.load(key)).version)


class OneUser(MemoryStore):
    async def load(self, key: SessionKey, /, *, names: Any = ()) -> Stored:
        return await super().load(SessionKey("", f"{key.user_id}_{key.session_id}"), names=names)

    async def save(self, key: SessionKey, document: Any, version: Version, /) -> Version:
        key = SessionKey("", f"{key.user_id}_{key.session_id}")
        return await super().save(key, document, version)

    async def delete(self, key: SessionKey, /) -> None:
        await super().delete(SessionKey("", f"{key.user_id}_{key.session_id}"))


class KeepsTheDocument(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[SessionKey, Any] = {}

    async def load(self, key: SessionKey, /, *, names: Any = ()) -> Stored:
        document, version = await super().load(key, names=names)
        return Stored(None if document is None else self.kept.get(key), version)

    async def save(self, key: SessionKey, document: Any, version: Version, /) -> Version:
        version = await super().save(key, document, version)
        self.kept[key] = document
        return version


class Undying(MemoryStore):
    async def delete(self, key: SessionKey, /) -> None:
        pass


class LastIsFirst(MemoryStore):
    async def enter(self, key: SessionKey, ticket: str, /, **options: Any) -> Standing:
        await super().enter(key, ticket, **options)
        return Standing(0, ticket, False)


class NeverEnds(MemoryStore):
    async def enter(self, key: SessionKey, ticket: str, /, **options: Any) -> Standing:
        return await super().enter(key, ticket, **{**options, "lease_s": 1e9})


class SavesOutOfTurn(MemoryStore):
    async def save_in_turn(
        self, key: SessionKey, document: Any, version: Version, ticket: str, /
    ) -> Version:
        return await self.save(key, document, version)


@pytest.mark.parametrize(
    ("make", "promise"),
    [
        (LastWins, "an absent session is at no other version"),
        (OneUser, "is a session of its own"),
        (KeepsTheDocument, "documents belong to the caller"),
        (Undying, "a deleted session has no entries"),
        (LastIsFirst, "the first who comes is the first"),
        (SavesOutOfTurn, "who waits for the turn cannot save"),
    ],
)
async def test_a_store_with_a_fault_is_found(
    make: Callable[[], SessionStore], promise: str
) -> None:
    with pytest.raises(AssertionError, match=promise):
        await check_session_store(opening(make()), is_shared=False)


async def test_leases_that_do_not_end_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asgi_agentrt.testing._checking.LIMIT_S", 1.0)
    with pytest.raises(TimeoutError):
        await check_session_store(opening(NeverEnds()), is_shared=False)


async def test_lines_are_checked_only_where_there_are_some() -> None:
    store = AgentScopeStore(DictSession())
    assert not isinstance(store, SessionLines)
    with pytest.raises(AssertionError, match="AgentScopeStore keeps no lines"):
        await SESSION_LINES_CHECKS[0](opening(store))
    assert await store.load(SessionKey("", "s")) == (None, ABSENT)
