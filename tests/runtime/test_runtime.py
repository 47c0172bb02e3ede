"""`Runtime`: what it opens, in which order, and that nothing stays open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentApp, Runtime, runtime
from asgi_agentrt.exceptions import AgentRuntimeError, ConfigError, LifecycleError, StartupError

from .resources import FAULTS, SESSION, Model, model

OPENED = ["open large", "open small", "open session", "start one"]
CLOSED = ["stop one", "close session", "close small", "close large"]


async def echo(msg: Any, ctx: Any) -> Any:
    yield msg.content


async def test_everything_is_opened_in_order_and_closed_in_reverse(
    project: Path, record: list[str]
) -> None:
    async with Runtime(project) as opened:
        assert record == OPENED
        assert opened.is_initialized
        assert set(opened.models) == {"main", "fast"}
        assert isinstance(opened.models.main, Model)
        assert opened.models["fast"].name == "small"
        assert opened.config.session.backend.endswith(":Store")
        assert type(opened.app).__name__ == "App"
        await opened.session.save_session_state("s1", plain={"n": 1})
    assert record == OPENED + CLOSED
    assert not opened.is_initialized


async def test_starting_twice_raises_and_stopping_twice_is_fine(project: Path) -> None:
    one = Runtime(project)
    await one.shutdown()
    await one.initialize()
    with pytest.raises(LifecycleError, match="initialized already"):
        await one.initialize()
    assert one.is_initialized
    for _ in range(2):
        await one.shutdown()
    assert not one.is_initialized


async def test_it_can_be_started_again_after_a_stop_and_after_a_failure(
    project: Path, record: list[str]
) -> None:
    one = Runtime(project)
    FAULTS["session"] = OSError("no disk")
    with pytest.raises(StartupError):
        await one.initialize()
    FAULTS.clear()
    record.clear()
    for _ in range(2):
        await one.initialize()
        await one.shutdown()
    assert record == (OPENED + CLOSED) * 2


@pytest.mark.parametrize(
    ("fault", "resource", "undone"),
    [
        ("large", "models.main", []),
        ("small", "models.fast", ["open large", "close large"]),
        ("session", "session", [*OPENED[:2], *CLOSED[2:]]),
        ("on_startup", "on_startup", [*OPENED[:3], *CLOSED[1:]]),
    ],
)
async def test_a_failure_half_way_undoes_what_was_done(
    project: Path, record: list[str], fault: str, resource: str, undone: list[str]
) -> None:
    FAULTS[fault] = OSError("it is broken")
    one = Runtime(project)
    with pytest.raises(StartupError) as raised:
        await one.initialize()
    assert raised.value.resource == resource
    assert "OSError" in str(raised.value)
    assert record == undone
    assert not one.is_initialized
    assert not runtime.is_initialized


async def test_one_that_cannot_be_closed_does_not_keep_the_rest_open(
    project: Path, record: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    FAULTS["close small"] = OSError("it is stuck")
    async with Runtime(project):
        pass
    assert record == OPENED + CLOSED
    assert "models.fast did not close: OSError" in caplog.text


async def test_every_fault_of_the_configuration_is_told_and_nothing_is_opened(
    project: Path, record: list[str]
) -> None:
    (project / "agentapp.yaml").write_text("servr: {}\nmodels: {main: {}}\n")
    with pytest.raises(ConfigError) as raised:
        await Runtime(project).initialize()
    assert len(raised.value.problems) >= 2
    assert record == []


async def test_another_configuration_and_project_can_be_named_at_the_start(
    project: Path, tmp_path: Path
) -> None:
    (project / "other.yaml").write_text("session: {backend: memory}\n")
    one = Runtime()
    await one.initialize("other.yaml", project)
    assert one.config.session.backend == "memory"
    await one.shutdown()


async def test_a_mapping_and_a_function_need_no_files(tmp_path: Path) -> None:
    config = {"models": {"main": model("large")}, "session": SESSION}
    async with Runtime(tmp_path, config=config, app=echo) as opened:
        assert opened.app is echo
        assert opened.models.main.name == "large"


async def test_a_caller_that_is_cancelled_leaves_nothing_open(
    project: Path, record: list[str]
) -> None:
    reached = anyio.Event()

    class App(AgentApp):
        async def on_startup(self) -> None:
            reached.set()
            await anyio.sleep_forever()

        async def __call__(self, msg: Any, ctx: Any) -> Any:
            yield ""

    one = Runtime(project, app=App())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.initialize)
            await reached.wait()
            tasks.cancel_scope.cancel()
    assert record == [*OPENED[:3], *CLOSED[1:]]
    assert not runtime.is_initialized


async def test_a_stop_gives_up_a_start_that_is_under_way(project: Path, record: list[str]) -> None:
    reached = anyio.Event()

    class App(AgentApp):
        async def on_startup(self) -> None:
            reached.set()
            await anyio.sleep_forever()

        async def __call__(self, msg: Any, ctx: Any) -> Any:
            yield ""

    one = Runtime(project, app=App())
    failures: list[AgentRuntimeError] = []

    async def start() -> None:
        try:
            await one.initialize()
        except AgentRuntimeError as error:
            failures.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(start)
            await reached.wait()
            await one.shutdown()
    assert "stopped while it started" in str(failures[0])
    assert record == [*OPENED[:3], *CLOSED[1:]]


async def test_what_is_not_open_says_so(project: Path) -> None:
    one = Runtime(project)
    for name in ("models", "session", "config", "app", "tools"):
        with pytest.raises(LifecycleError, match="not initialized"):
            getattr(one, name)
    with pytest.raises(LifecycleError, match="only an open runtime"):
        await one.reload()


async def test_a_runtime_made_on_one_event_loop_can_live_on_another(
    project: Path, record: list[str], anyio_backend: Any
) -> None:
    """Its context variables name the loop's library it was made on."""
    other = "trio" if anyio_backend[0] == "asyncio" else "asyncio"
    one = Runtime(project)

    async def elsewhere() -> None:
        async with one:
            assert one.is_initialized

    await anyio.to_thread.run_sync(lambda: anyio.run(elsewhere, backend=other))
    assert record == OPENED + CLOSED
