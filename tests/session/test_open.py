"""From the configuration to a store."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import ABSENT, SessionKey, Sessions, make_key, open_store
from asgi_agentrt._session._agentscope_store import AgentScopeStore
from asgi_agentrt._session._memory import MemoryStore
from asgi_agentrt.exceptions import SessionCorruptError, SessionError, StartupError

from .doubles import DictSession, files_in

HERE = __name__
KEY = SessionKey("ann", "s1")


class OwnStore(MemoryStore):
    """A store of the project's own; remembers what it was made with."""

    last: OwnStore

    def __init__(self, save_dir: str, url: str = "", other: int = 3) -> None:
        super().__init__()
        self.given = (save_dir, url, other)
        self.events: list[str] = []
        OwnStore.last = self

    async def open(self) -> None:
        self.events.append("open")

    async def aclose(self) -> None:
        self.events.append("close")


class OwnSession(DictSession):
    last: OwnSession

    def __init__(self) -> None:
        super().__init__()
        OwnSession.last = self


class BrokenStore(OwnStore):
    async def open(self) -> None:
        raise ConnectionError("redis://user:hunter2@host")


def needs_more(password: str) -> object:
    raise AssertionError


class Useless:
    pass


not_callable = 3


async def test_sessions_lie_beside_the_project_and_survive(tmp_path: Path) -> None:
    for number in range(2):
        async with open_store(SessionConfig(), tmp_path) as store:
            sessions = Sessions(store)
            assert await sessions.load_context_state(KEY) == ({"n": 0} if number else {})
            await sessions.save_context_state(KEY, {"n": number})
    assert (tmp_path / "sessions" / "ann@s1.json").is_file()


async def test_memory_forgets(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_store(SessionConfig(backend="memory", ttl=60), tmp_path) as store:
            assert (await store.load(KEY)).document is None
            await store.save(KEY, {}, ABSENT)
    assert files_in(tmp_path) == []


async def test_a_folder_in_the_way_fails_the_start_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("")
    with pytest.raises(
        StartupError, match=r"session: cannot write to .*sessions: File exists"
    ) as got:
        async with open_store(SessionConfig(), tmp_path):
            pass
    assert got.value.resource == "session"


async def test_a_class_path_is_made_with_what_it_asks_for(tmp_path: Path) -> None:
    config = SessionConfig(backend=f"{HERE}:OwnStore", save_dir="here")
    async with open_store(config, tmp_path) as store:
        assert store is OwnStore.last
    assert OwnStore.last.given == (str(tmp_path / "here"), "", 3)
    assert OwnStore.last.events == ["open", "close"]


async def test_an_entry_point_names_a_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "acme-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        f"[asgi_agentrt.session_backends]\nacme = {HERE}:OwnStore\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    importlib.invalidate_caches()
    async with open_store(SessionConfig(backend="acme"), tmp_path) as store:
        assert isinstance(store, OwnStore)
    config = SessionConfig(backend="acme")
    (folder / "entry_points.txt").write_text("")
    with pytest.raises(StartupError, match='no backend "acme", only json, memory, redis'):
        async with open_store(config, tmp_path):
            pass


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("nothing.like:This", "cannot be loaded: No module named 'nothing'"),
        (f"{HERE}:Missing", 'has no attribute "Missing"'),
        (f"{HERE}:not_callable", "is no class"),
        (f"{HERE}:needs_more", "cannot be opened: TypeError"),
        (f"{HERE}:Useless", "is no session backend: it needs the methods load, save"),
        (f"{HERE}:BrokenStore", "cannot be opened: ConnectionError"),
    ],
)
async def test_a_backend_that_cannot_be_used_says_why(
    tmp_path: Path, backend: str, reason: str
) -> None:
    with pytest.raises(StartupError, match=f"^session: .*{reason}") as got:
        async with open_store(SessionConfig(backend=backend), tmp_path):
            pass
    assert "hunter2" not in str(got.value)


# ---- AgentScope's session classes ----------------------------------------------------------------


async def test_a_class_of_agentscopes_kind_is_wrapped_and_closed(tmp_path: Path) -> None:
    async with open_store(SessionConfig(backend=f"{HERE}:OwnSession"), tmp_path) as store:
        sessions = Sessions(store)
        await sessions.save_session_state("s1", "ann", memory={"n": 1})
        await sessions.save_session_state("s2", plan={"n": 2})
        # Without a user the class's own default holds.
        assert set(OwnSession.last.held) == {("ann", "s1"), ("nobody", "s2")}
        assert '"memory": {"n": 1}' in OwnSession.last.held["ann", "s1"]
    assert OwnSession.last.is_closed


async def test_a_session_that_was_saved_without_us_is_loaded_by_name() -> None:
    inner = DictSession()
    inner.held["ann", "s1"] = '{"memory": {"n": 1}}'
    sessions = Sessions(AgentScopeStore(inner))
    memory: dict[str, Any] = {}
    await sessions.load_session_state("s1", "ann", memory=memory)
    assert memory == {"n": 1}
    await sessions.save_session_state("s1", "ann", memory={"n": 2})
    await sessions.load_session_state("s1", "ann", False, memory=memory)
    assert memory == {"n": 2}


async def test_ids_that_could_be_paths_are_passed_on_encoded() -> None:
    inner = DictSession()
    sessions = Sessions(AgentScopeStore(inner))
    for session_id in ("../evil", "a:b", "/etc/passwd", "x" * 256, ".hidden"):
        await sessions.save_session_state(session_id, "..", memory={})
    for user_id, session_id in inner.held:
        assert user_id == "%2e%2e"
        assert not set(session_id) & set("/:.")
        assert len(session_id) < 128
    assert len(inner.held) == 5


class MixesUp(DictSession):
    """Two sessions in one place, as AgentScope's JSONSession has them."""

    async def save_session_state(self, session_id: str, user_id: str = "", **modules: Any) -> None:
        await super().save_session_state(f"{user_id}_{session_id}", "", **modules)

    async def load_session_state(
        self, session_id: str, user_id: str = "", allow_not_exist: bool = True, **modules: Any
    ) -> None:
        await super().load_session_state(f"{user_id}_{session_id}", "", **modules)


async def test_a_class_that_mixes_sessions_up_gets_an_error_instead_of_a_leak() -> None:
    sessions = Sessions(AgentScopeStore(MixesUp()))
    await sessions.save_session_state("c", "a_b", memory={"secret": 1})
    memory: dict[str, Any] = {}
    with pytest.raises(SessionCorruptError, match="another session"):
        await sessions.load_session_state("b_c", "a", memory=memory)
    assert memory == {}


async def test_what_such_a_class_raises_is_told_by_its_type() -> None:
    inner = DictSession()
    sessions = Sessions(AgentScopeStore(inner))
    inner.held["nobody", "s1"] = '{"memory": '
    with pytest.raises(SessionCorruptError):
        await sessions.load_context_state(make_key("s1"))
    inner.held = None  # type: ignore[assignment]  # broken on purpose
    with pytest.raises(SessionError, match="DictSession cannot load the session: AttributeError"):
        await sessions.load_context_state(make_key("s1"))
    assert sessions.state == "down"
