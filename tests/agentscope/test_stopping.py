"""Whoever leaves `stream_agent` has stopped the agent, wherever in its turn it was."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from asgi_agentrt._agentscope import _task_stream
from asgi_agentrt.agentscope import stream_agent
from tests.support.scripted_llm import ScriptedLLM

from .conftest import MakeAgent, add, collect, text_of

pytestmark = [
    pytest.mark.anyio,
    # AgentScope 1.x makes the coroutines of a round's calls at once and drops those not reached.
    pytest.mark.filterwarnings("ignore:coroutine .ReActAgent._acting. was never awaited"),
]

TWO_CALLS = "calls:" + json.dumps(
    [{"name": "add", "arguments": {"a": 1, "b": 2}}, {"name": "add", "arguments": {"a": 3, "b": 4}}]
)


class Counted(Coroutine[Any, Any, Any]):
    """A task's coroutine that reports each time it waits for something."""

    def __init__(self, inner: Coroutine[Any, Any, Any], on_wait: Callable[[], None]) -> None:
        self._inner = inner
        self._on_wait = on_wait

    def send(self, value: Any) -> Any:
        future = self._inner.send(value)
        self._on_wait()
        return future

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        raise NotImplementedError


async def stop_at(agent: Any, number: int, way: str) -> tuple[bool, float]:
    """Stream a turn and stop it at the agent's wait of this number.

    Returns whether the turn was over before that, and the seconds that stopping took.
    """
    loop = asyncio.get_running_loop()
    waits, stopped_at = 0, 0.0
    scope = anyio.CancelScope()

    async def read() -> None:
        with scope:
            async with aclosing(stream_agent(agent, "go")) as chunks:
                async for _ in chunks:
                    pass

    reader = asyncio.create_task(read())

    def on_wait() -> None:
        nonlocal waits, stopped_at
        waits += 1
        if waits == number + 1:
            stopped_at = time.monotonic()
            if way == "scope":
                loop.call_soon(scope.cancel)
            else:
                reader.cancel()

    def count(loop: Any, coro: Any, **options: Any) -> Any:
        return asyncio.Task(Counted(coro, on_wait), loop=loop, **options)

    loop.set_task_factory(count)
    try:
        with anyio.fail_after(10):
            await asyncio.wait({reader})
    finally:
        loop.set_task_factory(None)
    assert reader.cancelled() == (way == "task" and waits > number)
    return waits <= number, time.monotonic() - stopped_at


async def nothing_but(tasks: set[asyncio.Task[Any]]) -> bool:
    """Say whether only these tasks are left, when the loop has closed what was dropped."""
    with anyio.move_on_after(1):
        while asyncio.all_tasks() - tasks:
            await anyio.lowlevel.checkpoint()
    return not asyncio.all_tasks() - tasks


@pytest.mark.parametrize("way", ["scope", "task"])
async def test_a_cancelled_turn_leaves_nothing_behind_at_any_of_its_waits(
    make_agent: MakeAgent, way: str
) -> None:
    """Neither a task, nor a history that the provider refuses in the next turn."""
    number = 0
    while True:
        agent = make_agent(TWO_CALLS, add)
        before = asyncio.all_tasks()
        over, seconds = await stop_at(agent, number, way)
        if over:
            break
        assert seconds < 1, number
        assert await nothing_but(before), number
        assert text_of(await collect(stream_agent(agent, "and again"))) == "Done.", number
        number += 1
    assert number > 10


async def test_closing_the_stream_stops_a_model_that_says_nothing_more(
    make_agent: MakeAgent, scripted: ScriptedLLM
) -> None:
    agent = make_agent("hang")
    before = asyncio.all_tasks()
    with anyio.fail_after(5):
        async with aclosing(stream_agent(agent, "go")) as chunks:
            assert (await anext(chunks)).content == "Hello, "
    assert await nothing_but(before)
    with anyio.fail_after(5):
        await anyio.to_thread.run_sync(scripted.wait_idle)


async def test_a_time_limit_around_the_stream_holds(make_agent: MakeAgent) -> None:
    """Also asyncio's own, which AgentScope by itself swallows."""
    agent = make_agent("hang")
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await collect(stream_agent(agent, "go"))
    with pytest.raises(TimeoutError), anyio.fail_after(0.2):
        await collect(stream_agent(agent, "go"))
    assert time.monotonic() - started < 3


async def test_a_dropped_stream_stops_the_agent_too(make_agent: MakeAgent) -> None:
    """`break` without `aclosing`: the event loop closes the generator when it is collected."""
    agent = make_agent("hang")
    before = asyncio.all_tasks()
    async for _ in stream_agent(agent, "go"):
        break
    gc.collect()
    assert await nothing_but(before)


async def test_a_reader_that_is_slow_holds_the_agent_back(make_agent: MakeAgent) -> None:
    """A turn of many chunks waits for its reader, and comes complete in the end."""
    words = " ".join(map(str, range(200)))
    agent = make_agent(f"say:{words}")
    text = ""
    with anyio.fail_after(10):
        async with aclosing(stream_agent(agent, "go")) as chunks:
            async for chunk in chunks:
                await anyio.sleep(0.002)
                text += text_of([chunk])
    assert text == words


async def test_an_agent_that_is_stopped_while_its_reader_is_far_behind_can_go_on_later(
    make_agent: MakeAgent,
) -> None:
    agent = make_agent("turns:" + json.dumps([{"say": " ".join(map(str, range(200)))}]))
    with anyio.fail_after(5):
        async with aclosing(stream_agent(agent, "go")) as chunks:
            await anext(chunks)
            await anyio.sleep(0.3)
    assert text_of(await collect(stream_agent(agent, "again"))).endswith("199")


async def test_an_agent_that_swallows_every_cancellation_is_given_up(
    make_agent: MakeAgent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a limited time, with one line in the log."""
    monkeypatch.setattr(_task_stream, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(_task_stream, "_ATTEMPTS", 3)
    release = asyncio.Event()

    async def stubborn() -> str:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return "free"

    agent = make_agent("call:stubborn:{}", stubborn)
    before = asyncio.all_tasks()
    with anyio.move_on_after(0.5) as scope:
        await collect(stream_agent(agent, "go"))
    assert scope.cancelled_caught
    assert "goes on, although it was cancelled 3 times" in caplog.text
    release.set()
    assert await nothing_but(before)
