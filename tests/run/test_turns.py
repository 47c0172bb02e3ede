"""The lines of sessions, and the places of running invocations."""

from __future__ import annotations

from typing import Literal

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_agentrt._run._admission import Admission, Place
from asgi_agentrt._run._turns import SessionTurns, Turn
from asgi_agentrt._session import SessionKey
from asgi_agentrt.exceptions import OverloadedError, SessionBusyError

KEY = SessionKey("", "s1")
Concurrency = Literal["queue", "reject", "interrupt", "parallel"]


class Call:
    """What stands in the line."""

    def __init__(self, name: str = "run") -> None:
        self.id = name
        self.cancelled: list[str] = []

    def cancel(self, reason: Literal["interrupted"]) -> None:
        self.cancelled.append(reason)


async def test_a_queue_is_served_in_order() -> None:
    turns = SessionTurns()
    line = [turns.enter(KEY, Call(), "queue") for _ in range(3)]
    assert [turn.has_come.is_set() for turn in line] == [True, False, False]
    line[0].leave()
    assert [turn.has_come.is_set() for turn in line] == [True, True, False]
    line[0].leave()  # again, which means nothing
    assert not line[2].has_come.is_set()
    line[1].leave()
    assert line[2].has_come.is_set()
    line[2].leave()
    assert len(turns) == 0


async def test_who_gives_up_waiting_lets_the_others_move_up() -> None:
    turns = SessionTurns()
    line = [turns.enter(KEY, Call(), "queue") for _ in range(3)]
    line[1].leave()
    assert not line[2].has_come.is_set()
    line[0].leave()
    assert line[2].has_come.is_set()


async def test_reject_names_the_run_that_holds_the_session() -> None:
    turns = SessionTurns()
    first = turns.enter(KEY, Call("first"), "reject")
    with pytest.raises(SessionBusyError) as caught:
        turns.enter(KEY, Call("second"), "reject")
    assert caught.value.run_id == "first"
    first.leave()
    assert turns.enter(KEY, Call("third"), "reject").has_come.is_set()


async def test_interrupt_cancels_everybody_before() -> None:
    turns = SessionTurns()
    calls = [Call(str(number)) for number in range(3)]
    line = [turns.enter(KEY, call, "interrupt") for call in calls]
    assert [len(call.cancelled) for call in calls] == [2, 1, 0]
    assert not line[2].has_come.is_set()  # not before the cancelled ones have cleaned up
    line[0].leave()
    line[1].leave()
    assert line[2].has_come.is_set()


async def test_parallel_waits_for_nobody_and_leaves_no_trace() -> None:
    turns = SessionTurns()
    line = [turns.enter(KEY, Call(), "parallel") for _ in range(3)]
    assert all(turn.has_come.is_set() for turn in line)
    assert len(turns) == 0
    for turn in line:
        turn.leave()


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_a_session_is_never_held_by_two_and_no_turn_is_lost(steps: list[tuple[bool, int]]) -> None:
    async def main() -> None:
        turns = SessionTurns()
        keys = [SessionKey("", f"s{number}") for number in range(2)]
        lines: dict[SessionKey, list[Turn]] = {key: [] for key in keys}
        for enters, number in steps:
            key = keys[number % 2]
            line = lines[key]
            if enters:
                line.append(turns.enter(key, Call(), "queue"))
            elif line:
                line.pop(number % len(line)).leave()
            for each in lines.values():
                assert [turn.has_come.is_set() for turn in each] == [
                    place == 0 for place in range(len(each))
                ]
            assert len(turns) == sum(bool(each) for each in lines.values())

    anyio.run(main)


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
