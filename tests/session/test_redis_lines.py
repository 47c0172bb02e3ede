"""Lines in Redis do what the algorithm does, and lie where a cluster can find them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import ABSENT, SessionKey, Standing, open_store
from asgi_agentrt._session._line import FORGET_AFTER_S, Entry, may_save
from asgi_agentrt._session._redis_store import RedisStore
from asgi_agentrt.exceptions import SessionConflictError, SessionError
from tests.support.redis_server import RedisServer, free_port, needs_redis, redis_server

from .line_models import LineModel, operations

pytestmark = needs_redis
KEY = SessionKey("ann", "s1")
LINE = "asgi_agentrt:{ann@s1}:line"
FREE = Standing(None, None, False)


@pytest.fixture(params=[("asyncio", {"debug": True})], ids=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """redis-py knows asyncio only."""
    return request.param


@pytest.fixture
async def store(redis: RedisServer) -> AsyncGenerator[RedisStore]:
    async with open_store(SessionConfig(backend="redis", url=redis.url), Path()) as store:
        assert isinstance(store, RedisStore)
        await store._client.flushall()
        yield store


async def let_pass(store: RedisStore, seconds: float) -> None:
    """Make a line as it would be after that time: only the server knows the time."""
    client = store._client
    text = await client.get(LINE)
    if text is None:
        return
    left_ms = await client.pttl(LINE) - round(seconds * 1000)
    if left_ms <= 0:
        await client.delete(LINE)
        return
    line = [[ticket, at - seconds * 1000, mark] for ticket, at, mark in json.loads(text)]
    await client.set(LINE, json.dumps(line), px=left_ms)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=operations)
async def test_scripts_do_what_the_algorithm_does(
    steps: list[tuple[object, ...]], store: RedisStore
) -> None:
    model = LineModel()
    await store._client.delete(LINE)
    version = ABSENT
    for step in steps:
        expected = model.apply(step)
        match step:
            case ("enter", str(ticket), Entry() as entry):
                assert await store.enter(KEY, ticket, **entry._asdict()) == expected
            case ("renew", str(ticket), float(lease_s)):
                assert await store.renew(KEY, ticket, lease_s=lease_s) == expected
            case ("leave", str(ticket)):
                await store.leave(KEY, ticket)
            case ("wait", float(seconds)):
                await let_pass(store, seconds)
                # What the model still has in its line although all of it is past.
                if all(place.expires_at <= model.now - FORGET_AFTER_S for place in model.line):
                    model.line = ()
    _, version = await store.load(KEY)
    for ticket in "abcd":
        if may_save(model.line, ticket):
            version = await store.save_in_turn(KEY, {}, version, ticket)
        else:
            with pytest.raises(SessionConflictError, match="another call has the session's turn"):
                await store.save_in_turn(KEY, {}, version, ticket)


async def test_a_line_is_gone_when_nobody_is_in_it(store: RedisStore) -> None:
    await store.enter(KEY, "a", lease_s=10)
    await store.enter(KEY, "b", lease_s=30)
    lives_ms = await store._client.pttl(LINE)
    assert (FORGET_AFTER_S + 29) * 1000 < lives_ms <= (FORGET_AFTER_S + 30) * 1000
    await store.leave(KEY, "a")
    await store.leave(KEY, "b")
    assert await store._client.keys() == []


async def test_any_text_is_a_ticket(store: RedisStore) -> None:
    for ticket in ("é😀", '"', "\\", "x" * 1000):
        assert (await store.enter(KEY, ticket, lease_s=10)).position == 0
        assert (await store.renew(KEY, ticket, lease_s=10)).head == ticket
        await store.leave(KEY, ticket)


async def test_what_is_no_line_is_an_error(store: RedisStore) -> None:
    await store._client.set(LINE, "{")
    with pytest.raises(SessionError, match="cannot enter the line of the session in Redis"):
        await store.enter(KEY, "a", lease_s=10)


# ---- clusters ------------------------------------------------------------------------------------


async def test_a_node_of_a_cluster_takes_every_command(tmp_path: Path) -> None:
    """It refuses scripts whose keys are of two slots, or were not named."""
    port = str(free_port(below=50_000))  # the nodes' own port is 10,000 above
    options = ["--cluster-enabled", "yes", "--port", port, "--bind", "127.0.0.1"]
    with redis_server(options) as server, anyio.fail_after(20):
        async with open_store(SessionConfig(backend="redis", url=server.url), tmp_path) as store:
            assert isinstance(store, RedisStore)
            await store._client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            while (await store._client.cluster("INFO"))["cluster_state"] != "ok":  # noqa: ASYNC110
                await anyio.sleep(0.01)
            assert (await store.enter(KEY, "a", lease_s=10)).position == 0
            assert (await store.renew(KEY, "a", lease_s=10)).position == 0
            version = await store.save_in_turn(KEY, {"n": {}}, ABSENT, "a")
            assert await store.load(KEY) == ({"n": {}}, version)
            await store.leave(KEY, "a")
            await store.delete(KEY)
            assert await store.load(KEY) == (None, ABSENT)
            await check_slots(store)


async def check_slots(store: RedisStore) -> None:
    """All keys of a session are in one slot, and sessions in many."""
    client = store._client
    slots: set[int] = set()
    for number in range(50):
        key = SessionKey("u{x}", f"s{number}}}{{")
        await store.enter(key, "a", lease_s=10)
        await store.save_in_turn(key, {}, ABSENT, "a")
        names = await client.keys()
        assert len(names) == 2
        found = {await client.execute_command("CLUSTER KEYSLOT", name) for name in names}
        assert len(found) == 1
        slots |= found
        await client.flushall()
    assert len(slots) > 40
