"""An agent that nobody starts: its first request does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_agentrt import AgentRuntimeASGI
from asgi_agentrt._run import Invocation
from asgi_agentrt._server import _instance
from tests.support import spies
from tests.support.driver import call
from tests.support.in_process import ask, calling, invocation, invoke, lifespan, said
from tests.support.spies import TENANT, Spy, agent_of, failing, logged


class Gate:
    """Holds up a start until it is opened."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.opened = anyio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await self.opened.wait()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass for the back-off, and for nothing else."""

    class Time:
        now = 1000.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    def advance(seconds: float) -> None:
        Time.now += seconds

    monkeypatch.setattr(_instance, "time", Time)
    return advance


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return logged(caplog, logging.ERROR)


async def test_twenty_concurrent_first_requests_share_one_start(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    gate = Gate()
    spy.starting = gate.wait
    statuses: list[int] = []

    async def request() -> None:
        statuses.append((await invoke(agent)).status)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(request)
        with anyio.fail_after(5):
            await gate.reached.wait()
        await anyio.wait_all_tasks_blocked()
        gate.opened.set()
    assert statuses == [200] * 20
    assert (spy.tries, spy.record) == (1, ["started"])


async def test_a_first_request_that_is_cancelled_does_not_cancel_the_start(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    gate = Gate()
    spy.starting = gate.wait
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, agent, invocation())
        with anyio.fail_after(5):
            await gate.reached.wait()
        tasks.cancel_scope.cancel()
    gate.opened.set()
    assert (await invoke(agent)).status == 200
    assert (spy.tries, spy.record) == (1, ["started"])


async def test_a_failed_start_answers_503_to_all_and_is_logged_once(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    spy.starting = failing()
    answers: list[Any] = []

    async def request() -> None:
        answers.append(await invoke(agent))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(request)
    assert [answer.status for answer in answers] == [503] * 5
    assert {answer.error_code for answer in answers} == {"NOT_READY"}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert "database" not in answers[0].content.decode()  # a fault's text is for the log
    [message] = errors(caplog)
    assert "could not start: on_startup: ConnectionError: the database is down" in message


async def test_it_is_tried_again_once_in_each_back_off_window_until_it_works(
    agent: AgentRuntimeASGI, spy: Spy, clock: Callable[[float], None]
) -> None:
    spy.starting = failing(times=3)
    for tries, wait_s in ((1, 1), (2, 2), (3, 4)):
        answer = await invoke(agent)
        assert (answer.status, answer.headers["retry-after"]) == (503, str(wait_s))
        assert spy.tries == tries
        clock(wait_s - 0.5)
        early = await invoke(agent)
        assert (early.status, early.headers["retry-after"], spy.tries) == (503, "1", tries)
        clock(0.6)
    assert (await invoke(agent)).status == 200
    assert (spy.tries, spy.record) == (4, ["started"])


async def test_the_back_off_has_an_end_and_begins_anew_after_a_success(
    agent: AgentRuntimeASGI, spy: Spy, clock: Callable[[float], None]
) -> None:
    spy.starting = failing(times=9)
    for _ in range(8):
        await invoke(agent)
        clock(60)
    assert (await invoke(agent)).headers["retry-after"] == "30"
    clock(60)
    assert (await invoke(agent)).status == 200
    await agent.stop()
    spy.starting = failing()
    async with agent.lifespan():
        assert (await invoke(agent)).headers["retry-after"] == "1"


async def test_a_crowd_that_comes_after_the_back_off_makes_one_attempt(
    agent: AgentRuntimeASGI, spy: Spy, clock: Callable[[float], None]
) -> None:
    spy.starting = failing(times=2)
    await invoke(agent)
    clock(1.5)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(call, agent, invocation())
    assert spy.tries == 2


async def test_health_tells_of_a_failed_start_and_starts_the_next_attempt(
    agent: AgentRuntimeASGI, spy: Spy, clock: Callable[[float], None]
) -> None:
    spy.starting = failing()
    answer = await ask(agent)
    assert (answer.status, answer.json["status"]) == (503, "unhealthy")
    assert (await ask(agent)).json["status"] == "unhealthy"
    assert spy.tries == 1
    clock(1.5)
    await ask(agent)  # does not wait for what it begins
    with anyio.fail_after(5):
        while (await ask(agent)).status != 200:
            await anyio.lowlevel.checkpoint()
    assert spy.tries == 2


async def test_health_answers_while_a_slow_start_is_under_way(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    gate = Gate()
    spy.starting = gate.wait
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, agent, invocation())
        with anyio.fail_after(5):
            await gate.reached.wait()
        answer = await ask(agent)
        assert (answer.status, answer.json["status"]) == (503, "starting")
        assert (await ask(agent, "/health/ready")).status == 503
        assert (await ask(agent, "/health/live")).status == 200
        gate.opened.set()


async def test_a_failure_is_logged_although_the_request_that_began_it_has_left(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    gate, fail = Gate(), failing()

    async def starting() -> None:
        await gate.wait()
        await fail()

    spy.starting = starting
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, agent, invocation())
        with anyio.fail_after(5):
            await gate.reached.wait()
        tasks.cancel_scope.cancel()
    gate.opened.set()
    await anyio.wait_all_tasks_blocked()
    assert len(errors(caplog)) == 1


async def test_a_start_that_takes_too_long_is_given_up(
    spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    agent = agent_of(spy, startup_timeout=0.2)
    gate = Gate()
    spy.starting = gate.wait
    assert (await invoke(agent)).status == 503
    [message] = errors(caplog)
    assert message.endswith("on_startup: not open after 0.2 s (server.startup_timeout)")


async def test_an_import_that_hangs_does_not_hang_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread cannot be stopped; nobody has to wait for it, though."""
    may_end = threading.Event()
    monkeypatch.setattr(spies, "import_may_end", may_end, raising=False)
    (tmp_path / "app.py").write_text(
        "from tests.support.spies import import_may_end\nimport_may_end.wait(30)\n"
    )
    agent = AgentRuntimeASGI(
        tmp_path, config={"session": {"backend": "memory"}, "server": {"startup_timeout": 0.2}}
    )
    try:
        assert (await invoke(agent)).status == 503
        [message] = errors(caplog)
        assert message.endswith("app.py: not open after 0.2 s (server.startup_timeout)")
    finally:
        may_end.set()


async def test_a_runtime_that_crashes_is_replaced_after_a_back_off(
    agent: AgentRuntimeASGI,
    spy: Spy,
    clock: Callable[[float], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def tick(self, now: float) -> None:
            raise RuntimeError("a part of the runtime broke")

    async with lifespan(agent):
        async with calling(agent, "hang") as request:
            assert (await request.next_event())["content"] == "begun"
            crashed = agent.runtime
            crashed.clock.add(Broken())
            await request.ended()
        assert request.events[-1].body["metadata"] == {"done": True, "error": True}
        with anyio.fail_after(5):
            await crashed.wait_closed()
        assert spy.record == ["started", "left: None", "stopped"]
        assert (await invoke(agent)).status == 503
        clock(1.5)
        assert said(await invoke(agent)) == ["hello"]
        assert (await ask(agent)).json["started_by"] == "lifespan"
    assert spy.record[3:] == ["started", "stopped"]
    assert [m for m in errors(caplog) if "crashed" in m] == ["the runtime crashed"]


async def test_one_warning_names_the_line_to_add_for_the_host_that_is_found(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    host = Starlette(routes=[Mount("/agent", agent)])
    for _ in range(2):
        await invoke(host, path="/agent/invoke")
    [warning] = logged(caplog, logging.WARNING)
    assert "Starlette(lifespan=agent.lifespan)" in warning
    assert 'agent.attach(app, "/agent")' in warning


@pytest.mark.parametrize(
    ("extra", "advice"),
    [
        ({"litestar_app": object()}, "Litestar(lifespan=[agent.lifespan])"),
        ({"url_route": {}}, "AgentRuntimeMiddleware(application, agent"),
        ({}, "AgentRuntimeMiddleware(host, agent"),
    ],
)
async def test_the_advice_fits_other_hosts_too(
    agent: AgentRuntimeASGI,
    caplog: pytest.LogCaptureFixture,
    extra: dict[str, Any],
    advice: str,
) -> None:
    await ask(agent, **extra)
    [warning] = logged(caplog, logging.WARNING)
    assert advice in warning


async def test_no_warning_when_the_lifespan_was_passed_on(
    agent: AgentRuntimeASGI, spy: Spy, caplog: pytest.LogCaptureFixture
) -> None:
    spy.starting = failing()
    async with agent.lifespan():
        await invoke(agent)
    [failure] = logged(caplog, logging.WARNING)
    assert "could not start" in failure


async def test_a_request_s_context_variables_reach_its_run_and_nothing_else(
    spy: Spy,
) -> None:
    agent = agent_of(spy)
    TENANT.set("ada")
    assert said(await invoke(agent, "tenant")) == ["ada"]
    assert spy.tenant_at_start == "nobody"
    TENANT.set("bert")
    assert said(await invoke(agent, "tenant")) == ["bert"]


async def test_a_retry_under_an_open_door_is_ended_by_that_door(
    agent: AgentRuntimeASGI, spy: Spy, clock: Callable[[float], None]
) -> None:
    spy.starting = failing()
    async with agent.lifespan():
        assert (await invoke(agent)).status == 503
        clock(1.5)
        assert (await invoke(agent)).status == 200
        assert (await ask(agent)).json["started_by"] == "composed"
    assert spy.record == ["started", "stopped"]


async def test_a_door_that_opens_later_takes_over_what_a_request_started(
    agent: AgentRuntimeASGI, spy: Spy
) -> None:
    await invoke(agent)
    async with agent.lifespan():
        assert (await ask(agent)).json["started_by"] == "composed"
    assert (spy.tries, spy.record) == (1, ["started", "stopped"])


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "starting"])
def test_the_end_of_the_event_loop_closes_it(
    agent: AgentRuntimeASGI, spy: Spy, is_open: bool, anyio_backend: Any
) -> None:
    """Nobody stopped it: with `asyncio.run` and `trio.run`, the loop's end does."""

    async def main() -> None:
        gate = Gate()
        if not is_open:
            spy.starting = gate.wait
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, agent, invocation())
            if not is_open:
                await gate.reached.wait()
            else:
                with anyio.fail_after(5):
                    while not spy.record:
                        await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

    backend, options = anyio_backend
    anyio.run(main, backend=backend, backend_options=options)
    assert spy.record == (["started", "stopped"] if is_open else [])


def test_what_a_run_uses_is_closed_after_it_when_the_event_loop_ends(
    agent: AgentRuntimeASGI, spy: Spy, anyio_backend: Any
) -> None:
    async def slowly() -> None:
        for _ in range(20):
            await anyio.lowlevel.checkpoint()

    spy.unwinding = slowly

    async def main() -> None:
        """Leave a run behind that no request waits for."""
        await ask(agent)
        message: Any = {"name": "user", "content": "hang", "role": "user"}
        run = await agent.runtime.invoke(Invocation("s1", message))
        listener = run.log.subscribe()
        with anyio.fail_after(5):
            await listener.wait()
        assert len(agent.runtime.runs) == 1

    backend, options = anyio_backend
    anyio.run(main, backend=backend, backend_options=options)
    assert spy.record == ["started", "left: None", "stopped"]


def test_an_eager_task_factory_changes_nothing(spy: Spy) -> None:
    """Python 3.12's; on 3.11 there is none, and the test is of the plain factory."""
    agent = agent_of(spy)

    async def main() -> None:
        if (factory := getattr(asyncio, "eager_task_factory", None)) is not None:
            asyncio.get_running_loop().set_task_factory(factory)
        TENANT.set("ada")
        assert said(await invoke(agent, "tenant")) == ["ada"]
        async with agent.lifespan():
            assert said(await invoke(agent, "hi")) == ["hello"]

    asyncio.run(main())
    assert spy.tenant_at_start == "nobody"
    assert spy.record == ["started", "stopped"]
