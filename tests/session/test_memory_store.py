"""Sessions in memory expire like any others."""

from __future__ import annotations

from asgi_agentrt._session import ABSENT, SessionKey
from asgi_agentrt._session._memory import MemoryStore


async def test_sessions_expire_some_time_after_their_last_use() -> None:
    now = 0.0
    store = MemoryStore(ttl_s=10, now=lambda: now)
    used, unused = SessionKey("", "used"), SessionKey("", "unused")
    await store.save(used, {"n": {}}, ABSENT)
    version = await store.save(unused, {"n": {}}, ABSENT)
    now = 6
    assert (await store.load(used)).document == {"n": {}}
    now = 12
    assert (await store.load(used)).document == {"n": {}}
    assert len(store._entries) == 1
    assert await store.load(unused) == (None, ABSENT)
    assert version != ABSENT


async def test_closing_forgets_everything() -> None:
    store = MemoryStore()
    await store.save(SessionKey("", "s"), {}, ABSENT)
    await store.aclose()
    assert (await store.load(SessionKey("", "s"))).document is None
