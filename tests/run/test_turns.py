"""The lines of sessions, and the places of running invocations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._run import _turns
from asgi_agentrt._run._admission import Admission, Place
from asgi_agentrt._run._turns import SessionTurns, Turn
from asgi_agentrt._session import SessionKey, Standing
from asgi_agentrt._session._line import Entry
from asgi_agentrt._session._lines import LineTable
from asgi_agentrt.exceptions import OverloadedError, SessionBusyError, SessionError
from tests.support.driver import LIMIT_S

KEY = SessionKey("", "s1")
REJECT = SessionConfig(concurrency="reject")
Concurrency = Literal["queue", "reject", "interrupt", "parallel"]


class Call:
    """What stands in the line."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.cancelled: list[str] = []

    def cancel(self, reason: Literal["interrupted", "session_lost"]) -> None:
        self.cancelled.append(reason)


class Lines:
    """The lines of a store, in memory, whose tickets a test can take away."""

    def __init__(self) -> None:
        self.table = LineTable()
        self.is_down = False
        self.asked = 0
        self.most_at_once = 0

    async def enter(self, key: SessionKey, ticket: str, /, **how: Any) -> Standing:
        await self._reach()
        return self.table.enter(key, ticket, Entry(**how))

    async def renew(self, key: SessionKey, ticket: str, /, *, lease_s: float) -> Standing:
        await self._reach()
        return self.table.renew(key, ticket, lease_s)

    async def leave(self, key: SessionKey, ticket: str, /) -> None:
        await self._reach()
        self.table.leave(key, ticket)

    async def save_in_turn(self, *_: Any) -> str:
        raise NotImplementedError

    async def _reach(self) -> None:
        self.asked += 1
        self.most_at_once = max(self.most_at_once, self.asked)
        try:
            await checkpoint()
        finally:
            self.asked -= 1
        if self.is_down:
            raise SessionError("the store is down")


class Callers:
    """Callers of one session in two processes, and the order in which they got their turns."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.lines = Lines()
        self.processes = [SessionTurns(), SessionTurns()]
        self.order: list[str] = []
        self._tasks = tasks
        self._scopes: dict[Turn, anyio.CancelScope] = {}
        self._changed = anyio.Event()

    def call(
        self, name: str, *, process: int = 0, concurrency: Concurrency = "queue"
    ) -> tuple[Call, Turn]:
        call = Call(name)
        turn = self.processes[process].add(
            KEY, call, self.lines, SessionConfig(concurrency=concurrency)
        )

        scope = self._scopes[turn] = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await turn.wait()
                self.order.append(name)
                self._changed.set()

        self._tasks.start_soon(wait)
        return call, turn

    async def give_up(self, turn: Turn) -> None:
        """Stop waiting, as a cancelled run does."""
        self._scopes[turn].cancel()
        await anyio.wait_all_tasks_blocked()
        await turn.leave()

    async def until(self, *order: str) -> None:
        with anyio.fail_after(LIMIT_S):
            while self.order != list(order):
                await self._changed.wait()
                self._changed = anyio.Event()


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    async with anyio.create_task_group() as tasks:
        yield Callers(tasks)
        tasks.cancel_scope.cancel()


async def test_a_queue_is_served_in_order(callers: Callers) -> None:
    turns = [callers.call(name)[1] for name in "abc"]
    await callers.until("a")
    await turns[0].leave()
    await callers.until("a", "b")
    await turns[0].leave()  # again, which means nothing
    await turns[1].leave()
    await callers.until("a", "b", "c")
    await turns[2].leave()
    assert len(callers.processes[0]) == len(callers.lines.table) == 0


async def test_who_gives_up_waiting_lets_the_others_move_up(callers: Callers) -> None:
    turns = [callers.call(name)[1] for name in "abc"]
    await callers.until("a")
    await callers.give_up(turns[1])
    await turns[0].leave()
    await callers.until("a", "c")


async def test_a_crowd_that_waits_for_one_session_leaves_the_store_to_others(
    callers: Callers,
) -> None:
    turns = [callers.call(str(number))[1] for number in range(50)]
    await callers.until("0")
    await anyio.wait_all_tasks_blocked()
    for turn in turns:
        turn.look()  # as when the time to renew has come for all of them
    await anyio.wait_all_tasks_blocked()
    assert callers.lines.most_at_once == _turns._CROWD_AT_ONCE
    async with anyio.create_task_group() as tasks:
        for turn in turns[1:]:
            tasks.start_soon(callers.give_up, turn)
    await turns[0].leave()
    assert len(callers.lines.table) == 0


async def test_a_call_in_another_process_waits_its_turn_too(callers: Callers) -> None:
    first = callers.call("here")[1]
    await callers.until("here")
    there = callers.call("there", process=1)[1]
    await there.has_entered.wait()
    assert callers.order == ["here"]
    await first.leave()
    await callers.until("here", "there")


async def test_reject_names_the_run_that_holds_the_session(callers: Callers) -> None:
    first = callers.call("first", concurrency="reject")[1]
    await callers.until("first")
    with pytest.raises(SessionBusyError) as here:
        callers.processes[0].add(KEY, Call("second"), callers.lines, REJECT)
    assert here.value.run_id == "first"
    other = callers.processes[1].add(KEY, Call("third"), callers.lines, REJECT)
    with pytest.raises(SessionBusyError) as there:
        await other.enter_if_free()
    assert there.value.run_id == "first"
    await other.leave()
    await first.leave()
    again = callers.processes[1].add(KEY, Call("fourth"), callers.lines, REJECT)
    await again.enter_if_free()
    assert again.has_come


async def test_interrupt_cancels_everybody_before(callers: Callers) -> None:
    made = []
    for number in range(3):
        made.append(callers.call(str(number), concurrency="interrupt"))
        if number == 0:
            await callers.until("0")
    assert [len(call.cancelled) for call, _ in made] == [2, 1, 0]
    await callers.give_up(made[1][1])
    assert callers.order == ["0"]  # not before the cancelled one has cleaned up
    await made[0][1].leave()
    await callers.until("0", "2")


async def test_interrupt_reaches_another_process(callers: Callers, quickly: None) -> None:
    call, turn = callers.call("here", concurrency="interrupt")
    await callers.until("here")
    callers.call("there", process=1, concurrency="interrupt")
    await keep_until(callers.processes[0], lambda: bool(call.cancelled))
    assert set(call.cancelled) == {"interrupted"}
    await turn.leave()
    await callers.until("here", "there")


async def test_a_run_whose_lease_ran_out_is_told_that_the_session_is_another_s(
    callers: Callers, quickly: None
) -> None:
    call, _ = callers.call("paused")
    await callers.until("paused")
    callers.lines.table.leave(KEY, "paused")  # as when the lease has run out and was dropped
    callers.call("next", process=1)
    await callers.until("paused", "next")
    await keep_until(callers.processes[0], lambda: bool(call.cancelled))
    assert set(call.cancelled) == {"session_lost"}


async def test_a_place_that_was_lost_with_the_store_is_taken_anew(
    callers: Callers, quickly: None
) -> None:
    call, _ = callers.call("a")
    await callers.until("a")
    callers.lines.table.leave(KEY, "a")  # the store was emptied
    await keep_until(callers.processes[0], lambda: len(callers.lines.table) == 1)
    assert call.cancelled == []


async def test_a_store_that_is_down_ends_no_run_and_is_told_to_who_waits(
    callers: Callers, quickly: None
) -> None:
    call, turn = callers.call("a")
    await callers.until("a")
    callers.lines.is_down = True
    with pytest.raises(SessionError):
        await callers.processes[1].add(KEY, Call("b"), callers.lines, SessionConfig()).wait()
    await turn.leave()  # cannot reach it, and does not mind
    assert call.cancelled == []


async def test_interrupt_reaches_those_who_wait_in_another_process(callers: Callers) -> None:
    callers.call("first", process=1, concurrency="interrupt")
    await callers.until("first")
    waiting, turn = callers.call("second", concurrency="interrupt")
    await turn.has_entered.wait()  # it polls: a wait until all are blocked may take for ever
    callers.call("third", process=1, concurrency="interrupt")
    with anyio.fail_after(LIMIT_S):
        while not waiting.cancelled:
            await checkpoint()
    assert set(waiting.cancelled) == {"interrupted"}


async def test_who_leaves_while_the_place_is_taken_anew_is_not_in_the_line_afterwards(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, turn = callers.call("a")
    await callers.until("a")
    callers.lines.table.leave(KEY, "a")  # the store was emptied
    entering, enter = anyio.Event(), callers.lines.enter

    async def enter_slowly(*args: Any, **how: Any) -> Standing:
        entering.set()
        for _ in range(20):
            await checkpoint()
        return await enter(*args, **how)

    monkeypatch.setattr(callers.lines, "enter", enter_slowly)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn.renew)
        with anyio.fail_after(LIMIT_S):
            await entering.wait()
            await turn.leave()
    assert len(callers.lines.table) == 0


async def test_a_fault_of_somebody_else_s_store_does_not_end_the_renewing(
    callers: Callers, quickly: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, _ = callers.call("a")
    await callers.until("a")
    renewals = 0

    async def fail(*_: object, **__: object) -> Standing:
        nonlocal renewals
        renewals += 1
        await checkpoint()
        raise RuntimeError("a plug-in of somebody's")

    monkeypatch.setattr(callers.lines, "renew", fail)
    await keep_until(callers.processes[0], lambda: renewals == 2)
    assert call.cancelled == []


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew leases all the time."""
    monkeypatch.setattr(_turns, "KEEP_PERIOD_S", 0.01)
    monkeypatch.setattr(_turns, "RENEWALS_A_LEASE", 10_000)


async def keep_until(turns: SessionTurns, is_done: Callable[[], bool]) -> None:
    """Renew the leases of a process until something has happened."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turns.keep)
        with anyio.fail_after(LIMIT_S):
            while not is_done():
                await checkpoint()
        tasks.cancel_scope.cancel()


async def test_places_are_given_in_the_order_of_asking() -> None:
    admission = Admission(1, 2)
    places = [admission.enter() for _ in range(3)]
    with pytest.raises(OverloadedError):
        admission.enter()
    for place in places:
        admission.ask(place)
    assert [place.is_given.is_set() for place in places] == [True, False, False]
    places[1].leave()  # a waiting one gives up
    places[0].leave()
    assert places[2].is_given.is_set()
    places[2].leave()
    places[2].leave()
    assert admission.enter() is not None


@given(
    limit=st.none() | st.integers(1, 3),
    queue=st.integers(0, 3),
    steps=st.lists(st.tuples(st.sampled_from(["enter", "ask", "leave"]), st.integers(0, 9))),
)
def test_no_more_run_than_may_and_no_place_is_lost(
    limit: int | None, queue: int, steps: list[tuple[str, int]]
) -> None:
    async def main() -> None:
        admission = Admission(limit, queue)
        entered: list[Place] = []
        asked: list[Place] = []
        for step, number in steps:
            if step == "enter":
                is_full = limit is not None and len(entered) + len(asked) >= limit + queue
                try:
                    entered.append(admission.enter())
                except OverloadedError:
                    assert is_full
                else:
                    assert not is_full
            elif step == "ask" and entered:
                asked.append(entered.pop(number % len(entered)))
                admission.ask(asked[-1])
            elif step == "leave" and entered + asked:
                place = (entered + asked)[number % len(entered + asked)]
                (entered if place in entered else asked).remove(place)
                place.leave()
            running = [place.is_given.is_set() for place in asked]
            allowed = len(asked) if limit is None else min(limit, len(asked))
            assert running == [True] * allowed + [False] * (len(asked) - allowed)

    anyio.run(main)
