"""Session stores of every backend, and folders to put them in."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt._session._json_store import JsonStore
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt._session._store import SessionStore

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


@pytest.fixture(params=["memory", "json", "agentscope"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    """A store of each backend that needs no server."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "agentscope":
        return AgentScopeStore(DictSession())
    store: SessionStore = request.getfixturevalue("json_store")
    return store
