"""The check itself finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.workers.history import Answered, History, Log

GOOD: Log = [("a", "1"), ("b", "2"), ("c", "3")]


def made() -> History:
    """Two calls that were answered, in order, and one whose answer was lost."""
    history = History()
    for token in "abc":
        history.sent("s", token)
    history.note("s", Answered("a", "1", 1, 0.0, 1.0))
    history.note("s", Answered("c", "3", 3, 2.0, 3.0))
    return history


def test_a_call_whose_answer_was_lost_may_have_been_saved_or_not() -> None:
    assert made().faults({"s": GOOD}) == []
    history = History()
    history.sent("s", "a")
    assert history.faults({"s": []}) == []


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ([("b", "2"), ("c", "3")], "was acknowledged"),
        ([("a", "1"), ("b", "2")], "was acknowledged"),
        ([("a", "1"), ("b", "2"), ("c", "4")], "was acknowledged"),
        ([*GOOD, ("a", "5")], "a is there 2 times"),
        ([*GOOD, ("d", "4")], "nobody sent d"),
    ],
)
def test_what_is_lost_doubled_or_from_nowhere_is_found(log: Log, fault: str) -> None:
    assert any(fault in found for found in made().faults({"s": log}))


def test_a_call_that_was_sent_after_another_s_answer_comes_after_it() -> None:
    history = made()
    history.sent("s", "d")
    history.note("s", Answered("d", "0", 2, 4.0, 5.0))
    [fault] = history.faults({"s": [("a", "1"), ("d", "0"), ("c", "3")]})
    assert "comes before it" in fault
