"""`from asgi_agentrt import runtime`: the right one, wherever it is used."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from asgi_agentrt import AgentApp, Runtime, runtime
from asgi_agentrt._run import Invocation
from asgi_agentrt.exceptions import AgentRuntimeError, LifecycleError

MEMORY = {"session": {"backend": "memory"}}


class Watching(AgentApp):
    """Sees which runtime it is in, at every turn of its life."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def on_startup(self) -> None:
        self.seen.append(runtime.app)

    async def on_shutdown(self) -> None:
        self.seen.append(runtime.app)

    async def __call__(self, msg: dict[str, Any], ctx: Any) -> Any:
        self.seen.append(runtime.app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.in_a_task)
        await anyio.to_thread.run_sync(lambda: self.seen.append(runtime.app))
        yield "done"

    async def in_a_task(self) -> None:
        self.seen.append(runtime.app)


async def call(opened: Runtime) -> None:
    message: Any = {"name": "user", "content": "hi", "role": "user"}
    subscription = (await opened.invoke(Invocation("s1", message))).log.subscribe()
    with anyio.fail_after(5):
        while not subscription.is_over:
            await subscription.wait()
            subscription.take()


async def test_without_one_alive_it_says_what_to_do() -> None:
    assert not runtime.is_initialized
    with pytest.raises(LifecycleError, match=r"await runtime\.initialize\(\)"):
        _ = runtime.models
    await runtime.shutdown()


async def test_the_only_one_alive_is_meant_everywhere() -> None:
    app = Watching()
    async with Runtime(config=MEMORY, app=app) as opened:
        assert runtime.is_initialized
        assert runtime.app is app
        assert runtime.config is opened.config
        assert runtime.session is opened.session
        assert runtime.models is opened.models
    assert not runtime.is_initialized


async def test_each_app_sees_its_own_however_many_are_alive() -> None:
    apps = [Watching(), Watching()]
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Runtime(config=MEMORY, app=app)) for app in apps]
        for one in opened:
            await call(one)
        with pytest.raises(LifecycleError, match=r"2 runtimes are alive.*agent\.runtime"):
            _ = runtime.app
        assert not runtime.is_initialized
    for app in apps:
        assert app.seen == [app] * 5  # start, call, its task, its thread, stop


async def test_initialize_and_shutdown_open_a_project_without_serving_it(
    project: Path, record: list[str]
) -> None:
    await runtime.initialize(project_path=project)
    assert runtime.models.main.name == "large"
    with pytest.raises(LifecycleError, match="already"):
        await runtime.initialize(project_path=project)
    await runtime.shutdown()
    assert not runtime.is_initialized
    await runtime.shutdown()
    assert record[-1] == "close large"


async def test_an_initialize_that_fails_can_be_repeated(project: Path) -> None:
    (project / "agentapp.yaml").rename(project / "later.yaml")
    with pytest.raises(AgentRuntimeError, match=r"agentapp\.yaml"):
        await runtime.initialize(project_path=project)
    await runtime.initialize("later.yaml", project)
    assert runtime.is_initialized
    await runtime.shutdown()


async def test_code_that_runs_in_no_event_loop_may_use_it_too() -> None:
    app = Watching()
    async with Runtime(config=MEMORY, app=app):
        import threading

        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(runtime.app))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)
    assert seen == [app]


async def test_another_event_loop_s_runtime_is_not_meant(anyio_backend: Any) -> None:
    async def elsewhere() -> bool:
        return runtime.is_initialized

    async with Runtime(config=MEMORY, app=Watching()):
        found = await anyio.to_thread.run_sync(
            lambda: anyio.run(elsewhere, backend=anyio_backend[0])
        )
    assert not found
