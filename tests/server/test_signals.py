"""The notice of a stop signal: chained in front of a handler that exists, and gone afterwards."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import anyio
import anyio.to_thread
import pytest

from asgi_agentrt import AgentRuntimeASGI
from tests.support.in_process import ask, calling, invoke, lifespan
from tests.support.process import ROOT
from tests.support.spies import Spy, agent_of

STOP = (signal.SIGTERM, signal.SIGINT)


class Host:
    """Whoever handles the signals; `heard` is what it was told."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def handle_exit(self, number: int, frame: FrameType | None) -> None:
        self.heard.append(number)


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Leave the process's handlers as they were."""
    before = {number: signal.getsignal(number) for number in STOP}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def host() -> Host:
    """Handlers of Python's, in front of which a notice may be chained."""
    made = Host()
    for number in STOP:
        signal.signal(number, made.handle_exit)
    return made


def like_uvicorn() -> Any:
    """A handler's owner as uvicorn's is seen: by the module of a class that it derives from."""
    theirs = type("Server", (Host,), {"__module__": "uvicorn.server"})
    return type("OurServer", (theirs,), {})()


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in STOP]


async def draining(agent: AgentRuntimeASGI) -> None:
    """Wait for what a signal handler has asked of the event loop."""
    with anyio.fail_after(5):
        while (await ask(agent)).json["status"] != "draining":
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("number", STOP)
async def test_streams_end_at_the_signal_and_the_host_hears_it_at_once(
    spy: Spy, host: Host, number: signal.Signals
) -> None:
    agent = agent_of(spy, drain_timeout=0.05)
    async with lifespan(agent):
        async with calling(agent, "hang") as request:
            await request.next_event()
            signal.raise_signal(number)
            assert host.heard == [number]
            await request.ended()
        assert request.is_complete
        error, done = request.events[-2:]
        assert error.body["error"]["code"] == "CANCELLED"
        assert done.body["metadata"] == {"done": True, "error": True}
        assert (await invoke(agent)).status == 503
        assert (await ask(agent)).json["status"] == "draining"
        assert spy.record == ["started", "left: shutdown"]
    assert spy.record == ["started", "left: shutdown", "stopped"]
    assert host.heard == [number]


async def test_a_run_may_end_by_itself_within_the_drain_timeout(spy: Spy, host: Host) -> None:
    agent = agent_of(spy, drain_timeout=5)
    async with lifespan(agent):
        async with calling(agent, "slow") as request:
            await request.next_event()
            signal.raise_signal(signal.SIGTERM)
            await anyio.wait_all_tasks_blocked()
            assert not request.is_over
            spy.go_on.set()
            await request.ended()
        assert request.events[-1].body["metadata"] == {"done": True}


async def test_the_handlers_are_put_back_at_the_stop(agent: AgentRuntimeASGI, host: Host) -> None:
    before = handlers()
    for _ in range(2):
        async with lifespan(agent):
            assert all(now != then for now, then in zip(handlers(), before, strict=True))
        assert handlers() == before


async def test_two_agents_share_a_chain_that_goes_with_the_last(host: Host) -> None:
    spies = [Spy(), Spy()]
    one, two = (agent_of(spy) for spy in spies)
    before = handlers()
    async with lifespan(one):
        async with lifespan(two):
            chained = handlers()
        assert handlers() == chained
        signal.raise_signal(signal.SIGTERM)
        assert host.heard == [signal.SIGTERM]
        await draining(one)
    assert handlers() == before


@pytest.mark.parametrize("action", [signal.SIG_DFL, signal.SIG_IGN])
async def test_a_signal_that_python_does_not_handle_is_left_alone(
    agent: AgentRuntimeASGI, action: signal.Handlers
) -> None:
    for number in STOP:
        signal.signal(number, action)
    async with lifespan(agent):
        assert handlers() == [action, action]
    assert handlers() == [action, action]


async def test_signals_off_leaves_all_alone(spy: Spy, host: Host) -> None:
    before = handlers()
    async with lifespan(agent_of(spy, signals="off")):
        assert handlers() == before


async def test_a_handler_that_was_put_in_front_of_ours_stays_there(
    agent: AgentRuntimeASGI, host: Host
) -> None:
    heard: list[int] = []

    def foreign(ours: Callable[..., Any], number: int, frame: FrameType | None) -> None:
        heard.append(number)
        ours(number, frame)

    async with lifespan(agent):
        in_front = partial(foreign, signal.getsignal(signal.SIGTERM))
        signal.signal(signal.SIGTERM, in_front)
    assert signal.getsignal(signal.SIGTERM) is in_front
    signal.raise_signal(signal.SIGTERM)
    assert (heard, host.heard) == ([signal.SIGTERM], [signal.SIGTERM])
    # And the next life is chained in front of that.
    async with lifespan(agent):
        signal.raise_signal(signal.SIGTERM)
        await draining(agent)
    assert heard == [signal.SIGTERM] * 2


def test_another_thread_s_runtime_leaves_signals_alone(
    spy: Spy, host: Host, anyio_backend: Any
) -> None:
    agent = agent_of(spy)
    before, seen = handlers(), []

    async def main() -> None:
        async with lifespan(agent):
            seen.append(handlers())

    backend, options = anyio_backend
    thread = threading.Thread(
        target=partial(anyio.run, main, backend=backend, backend_options=options)
    )
    thread.start()
    thread.join(10)
    assert seen == [before]
    assert spy.record == ["started", "stopped"]


async def test_a_signal_after_the_loop_has_gone_only_reaches_the_host(host: Host) -> None:
    """Nobody told the runtime to stop: its loop was closed under it."""
    spy = Spy()
    agent = agent_of(spy)
    loop = asyncio.new_event_loop()

    def elsewhere() -> None:
        loop.run_until_complete(agent.start())

    elsewhere_s_end = await anyio.to_thread.run_sync(elsewhere)
    assert elsewhere_s_end is None
    signal.raise_signal(signal.SIGTERM)
    assert host.heard == [signal.SIGTERM]
    await anyio.to_thread.run_sync(lambda: loop.run_until_complete(agent.stop()))
    loop.close()


# ---- uvicorn, which ends the process without unwinding the loop --------------------------------


class TestUnderUvicorn:
    """A runtime that a request started, with a server that looks like uvicorn's."""

    @pytest.fixture
    def anyio_backend(self) -> Any:
        return ("asyncio", {"debug": True})  # uvicorn knows no other

    @pytest.fixture
    def host(self) -> Any:
        made = like_uvicorn()
        for number in STOP:
            signal.signal(number, made.handle_exit)
        return made

    async def test_the_signal_is_held_back_until_all_is_closed(self, spy: Spy, host: Host) -> None:
        agent = agent_of(spy)
        await ask(agent)
        spy.stopping = self.may_stop(host)
        runtime = agent.runtime
        signal.raise_signal(signal.SIGTERM)
        assert host.heard == []
        with anyio.fail_after(5):
            await runtime.wait_closed()
            while not host.heard:
                await anyio.lowlevel.checkpoint()
        assert host.heard == [signal.SIGTERM]
        assert spy.record == ["started", "stopped"]
        assert handlers() == [host.handle_exit] * 2

    async def test_what_comes_meanwhile_is_turned_away_and_starts_nothing(
        self, spy: Spy, host: Host
    ) -> None:
        agent = agent_of(spy)
        await ask(agent)
        runtime = agent.runtime
        signal.raise_signal(signal.SIGTERM)
        assert (await invoke(agent)).status == 503
        with anyio.fail_after(5):
            await runtime.wait_closed()
        assert (await invoke(agent)).status == 503
        assert (await ask(agent)).json["status"] == "draining"
        assert spy.tries == 1

    async def test_a_second_sigterm_waits_too_and_a_second_ctrl_c_does_not(
        self, spy: Spy, host: Host
    ) -> None:
        agent = agent_of(spy)
        await ask(agent)
        may_close = anyio.Event()
        spy.stopping = may_close.wait
        runtime = agent.runtime
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert host.heard == []
        signal.raise_signal(signal.SIGINT)
        assert host.heard == []
        signal.raise_signal(signal.SIGINT)
        assert host.heard == [signal.SIGINT]
        may_close.set()
        with anyio.fail_after(5):
            await runtime.wait_closed()
            while signal.SIGTERM not in host.heard:
                await anyio.lowlevel.checkpoint()
        assert spy.record == ["started", "stopped"]

    async def test_one_that_a_lifespan_will_close_is_not_held_back(
        self, agent: AgentRuntimeASGI, host: Host
    ) -> None:
        async with lifespan(agent):
            signal.raise_signal(signal.SIGTERM)
            assert host.heard == [signal.SIGTERM]

    def may_stop(self, host: Host) -> Callable[[], Any]:
        async def stopping() -> None:
            assert host.heard == [], "the signal went on before the runtime was closed"

        return stopping


# ---- the ends of event loops -------------------------------------------------------------------


def test_asyncio_run_gets_its_own_ctrl_c_handler_back(spy: Spy) -> None:
    """It looks for the handler that it set, and a second run would otherwise set none."""
    agent = agent_of(spy)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for _ in range(2):
        asyncio.run(_ask(agent))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert spy.record == ["started", "stopped"] * 2


async def _ask(agent: AgentRuntimeASGI) -> None:
    assert (await ask(agent)).status == 200


CODE = """
import asyncio, os, sys
from tests.support.spies import Spy, agent_of
from tests.support.in_process import ask

class Loud(Spy):
    async def on_shutdown(self):
        print("stopped in", os.getpid(), flush=True)

async def start():
    assert (await ask(agent)).status == 200

agent = agent_of(Loud())
loop = asyncio.new_event_loop()
"""


@pytest.mark.parametrize(
    ("end", "stops"),
    [
        # As daphne leaves its loop: stopped, and not closed.
        ("loop.run_until_complete(start())", 1),
        # And as it leaves threads: idle, and told to end with the task that they were started for.
        (
            "task = loop.create_task(start()); task.add_done_callback(lambda _: loop.stop())\n"
            "loop.run_forever()",
            1,
        ),
        ("loop.run_until_complete(start()); loop.close()", 0),
        # As a2wsgi has it: in a thread that does not keep the process alive.
        (
            "import threading; threading.Thread(target=loop.run_forever, daemon=True).start()\n"
            "asyncio.run_coroutine_threadsafe(start(), loop).result(5)",
            1,
        ),
        # A worker that was forked after the start must not close what belongs to its parent.
        ("loop.run_until_complete(start()); pid = os.fork()\nif pid: os.waitpid(pid, 0)", 1),
    ],
    ids=["stopped loop", "idle threads", "closed loop", "loop in a thread", "forked child"],
)
def test_the_end_of_the_process_closes_what_nobody_stopped(end: str, stops: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{CODE}\n{end}\n"],
        capture_output=True,
        check=False,
        text=True,
        timeout=20,
        cwd=ROOT,
    )
    assert done.stdout.count("stopped in") == stops, done.stdout + done.stderr
    assert done.returncode == 0
