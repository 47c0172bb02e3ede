"""`reload()`: the project is read again, and no invocation notices."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentApp, AgentRuntimeASGI, Runtime, runtime
from asgi_agentrt.exceptions import AgentRuntimeError, ConfigError, LifecycleError, StartupError
from tests.support.in_process import ask, calling, invoke, lifespan, said

from .resources import FAULTS

TENANT = ContextVar("tenant", default="nobody")


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


async def closed(record: list[str], last: str) -> None:
    with anyio.fail_after(5):
        while last not in record:
            await anyio.lowlevel.checkpoint()


async def test_app_py_and_the_configuration_are_read_afresh(
    project: Path, record: list[str]
) -> None:
    async with Runtime(project) as opened:
        before = opened.generation
        edit(project / "app.py", ('"one"', '"two"'))
        edit(project / "agentapp.yaml", ("model: large", "model: huge"))
        record.clear()
        await opened.reload()
        after = opened.generation
        assert before is not None
        assert after is not None
        assert (before.number, after.number) == (1, 2)
        assert opened.models.main.name == "huge"
        await closed(record, "close large")
        # The new is open before anything of the old is closed.
        assert record.index("start two") < record.index("stop one")
        assert record.index("open huge") < record.index("close large")
        record.clear()
    assert record[0] == "stop two"
    assert record[-1] == "close huge"


async def test_a_run_finishes_on_what_it_began_with(project: Path, record: list[str]) -> None:
    go_on = anyio.Event()
    names: list[str] = []

    async def app(msg: dict[str, Any], ctx: Any) -> Any:
        yield "begun"
        if msg["content"] == "slow":
            await go_on.wait()
        names.append(runtime.models.main.name)
        assert not runtime.models.main.is_closed

    agent = AgentRuntimeASGI(project, app=app)
    async with lifespan(agent):
        async with calling(agent, "slow") as request:
            await request.next_event()
            edit(project / "agentapp.yaml", ("model: large", "model: huge"))
            await agent.reload()
            assert (await ask(agent)).json["generation"] == 2
            async with calling(agent, "quick", session_id="s2") as second:
                await second.ended()
            assert "close large" not in record
            go_on.set()
            await request.ended()
        assert names == ["huge", "large"]
        await closed(record, "close large")
        assert request.events[-1].body["metadata"] == {"done": True}


async def test_a_run_that_does_not_finish_is_cancelled_after_the_drain_timeout(
    project: Path,
) -> None:
    async def app(msg: dict[str, Any], ctx: Any) -> Any:
        yield "begun"
        await anyio.sleep_forever()

    config = {"session": {"backend": "memory"}, "server": {"drain_timeout": 0.05}}
    agent = AgentRuntimeASGI(project, app=app, config=config)
    async with lifespan(agent):
        async with calling(agent) as request:
            await request.next_event()
            await agent.reload()
            await request.ended()
        assert request.events[-2].body["error"]["code"] == "CANCELLED"
        assert (await ask(agent)).json["status"] == "healthy"


@pytest.mark.parametrize("fault", ["config", "app.py", "resource", "on_startup", "timeout"])
async def test_a_new_one_that_fails_leaves_the_old_one_as_it_was(
    project: Path, record: list[str], fault: str
) -> None:
    agent = AgentRuntimeASGI(project)
    async with lifespan(agent):
        kinds: dict[str, type[AgentRuntimeError]] = {"config": ConfigError}
        if fault == "config":
            edit(project / "agentapp.yaml", ("session:", "sesion:"))
        elif fault == "app.py":
            edit(project / "app.py", ("NAME =", "raise OSError\nNAME ="))
            kinds["app.py"] = AgentRuntimeError
        elif fault == "resource":
            edit(project / "agentapp.yaml", ("model: large", "model: huge"))
            FAULTS["huge"] = OSError("not found")
        elif fault == "on_startup":
            FAULTS["on_startup"] = OSError("no database")
        else:
            edit(project / "app.py", ("async def on_startup(self):", HANGS))
            with (project / "agentapp.yaml").open("a") as file:
                file.write("server: {startup_timeout: 0.1}\n")
        record.clear()
        with pytest.raises(kinds.get(fault, StartupError)):
            await agent.reload()
        assert "stop one" not in record
        assert "close large" not in record
        health = (await ask(agent)).json
        assert (health["status"], health["generation"]) == ("healthy", 1)
        assert said(await invoke(agent)) == ["one"]
    assert record[-4:] == ["stop one", "close session", "close small", "close large"]


HANGS = "async def on_startup(self):\n        import anyio\n        await anyio.sleep_forever()"


async def test_no_request_fails_while_it_reloads(project: Path) -> None:
    agent = AgentRuntimeASGI(project)
    statuses: list[int] = []
    is_done = False

    async def keep_asking() -> None:
        while not is_done:
            statuses.append((await invoke(agent)).status)

    async with lifespan(agent), anyio.create_task_group() as tasks:
        tasks.start_soon(keep_asking)
        for number in range(5):
            edit(project / "app.py", (f'NAME = "{_name(number)}"', f'NAME = "{_name(number + 1)}"'))
            await agent.reload()
        is_done = True
    assert statuses
    assert set(statuses) == {200}


def _name(number: int) -> str:
    return ("one", "two", "three", "four", "five", "six")[number]


async def test_a_caller_s_context_variables_do_not_reach_the_new_one(project: Path) -> None:
    seen: list[str] = []

    class App(AgentApp):
        async def on_startup(self) -> None:
            seen.append(TENANT.get())

        async def on_shutdown(self) -> None:
            seen.append(TENANT.get())

        async def __call__(self, msg: Any, ctx: Any) -> Any:
            yield ""

    async with Runtime(project, app=App) as opened:
        TENANT.set("ada")
        await opened.reload()
    assert seen == ["nobody"] * 4


async def test_two_reloads_at_once_happen_one_after_the_other(
    project: Path, record: list[str]
) -> None:
    async with Runtime(project) as opened:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(2):
                    tasks.start_soon(opened.reload)
        assert opened.generation is not None
        assert opened.generation.number == 3
    assert record.count("start one") == record.count("stop one") == 3


async def test_a_stop_gives_up_a_reload_that_is_under_way(project: Path, record: list[str]) -> None:
    reached = anyio.Event()

    class App(AgentApp):
        starts = 0

        async def on_startup(self) -> None:
            App.starts += 1
            if App.starts == 2:
                reached.set()
                await anyio.sleep_forever()

        async def __call__(self, msg: Any, ctx: Any) -> Any:
            yield ""

    one = Runtime(project, app=App)
    failures: list[Exception] = []

    async def reload() -> None:
        try:
            await one.reload()
        except StartupError as error:
            failures.append(error)

    with anyio.fail_after(5):
        await one.initialize()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reload)
            await reached.wait()
            await one.shutdown()
    assert len(failures) == 1
    assert record.count("open session") == record.count("close session")
    assert record.count("open large") == record.count("close large")


async def test_only_an_open_runtime_can_be_reloaded(project: Path) -> None:
    agent = AgentRuntimeASGI(project)
    with pytest.raises(LifecycleError):
        await agent.reload()
    async with lifespan(agent):
        agent.runtime.drain()
        with pytest.raises(LifecycleError, match="only an open runtime"):
            await agent.reload()
