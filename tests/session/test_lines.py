"""Lines with leases: first come, first served, and who stays away is overtaken."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_agentrt._session import SessionKey, Standing
from asgi_agentrt._session._file_lock import FileLocks
from asgi_agentrt._session._line import (
    FORGET_AFTER_S,
    Entry,
    Line,
    Place,
    enter,
    leave,
    may_save,
    renew,
)
from asgi_agentrt._session._line_files import (
    LineFiles,
    Moment,
    decode_line,
    encode_line,
    this_moment,
)
from asgi_agentrt._session._lines import LineTable
from asgi_agentrt._session._session_files import SessionFiles
from asgi_agentrt.exceptions import SessionConflictError

from .line_models import LineModel, operations

KEY = SessionKey("ann", "s1")
FREE = Standing(None, None, False)


def waiting(*tickets: str, lease_s: float = 10, now: float = 0) -> Line:
    line: Line = ()
    for ticket in tickets:
        line, _ = enter(line, ticket, Entry(lease_s), now)
    return line


# ---- the algorithm -------------------------------------------------------------------------------


def test_tickets_stand_in_the_order_in_which_they_came() -> None:
    line = waiting("a", "b", "c")
    assert renew(line, "c", 10, 1)[1] == Standing(2, "a", False)
    line = leave(line, "a", 1)
    assert renew(line, "b", 10, 1)[1] == Standing(0, "b", False)
    line = leave(leave(line, "c", 1), "c", 1)
    assert leave(line, "b", 1) == ()


def test_a_lease_that_ran_out_is_dropped_by_who_comes_after() -> None:
    line = waiting("a", "b")
    line, _ = renew(line, "b", 10, 9)
    line, standing = renew(line, "b", 10, 10)
    assert standing == Standing(0, "b", False)
    # It never gets its place back.
    assert renew(line, "a", 10, 10) == (line, Standing(None, "b", False))
    line, standing = enter(line, "a", Entry(10), 10)
    assert standing == Standing(1, "b", False)


def test_a_lease_that_ran_out_and_nobody_wanted_can_be_renewed() -> None:
    line = waiting("a", "b")
    # Who comes after it has run out, too, and drops nobody by being in the line.
    line, standing = renew(line, "a", 10, 500)
    assert standing == Standing(0, "a", False)
    assert renew(line, "b", 10, 500)[1].position == 1


def test_a_ticket_that_nobody_renewed_for_long_is_forgotten() -> None:
    line = waiting("a")
    assert renew(line, "a", 10, 10 + FORGET_AFTER_S) == (line, FREE)
    assert leave(line, "b", 10 + FORGET_AFTER_S) == ()


def test_an_interrupt_marks_all_that_are_ahead() -> None:
    line = waiting("a", "b")
    line, standing = enter(line, "c", Entry(10, interrupt=True), 1)
    assert standing == Standing(2, "a", False)
    assert renew(line, "a", 10, 1)[1] == Standing(0, "a", True)
    assert renew(line, "b", 10, 1)[1] == Standing(1, "a", True)
    line, _ = enter(line, "d", Entry(10), 1)
    assert [place.is_interrupted for place in line] == [True, True, False, False]


def test_who_asks_for_a_free_line_does_not_wait_in_it() -> None:
    line = waiting("a")
    assert enter(line, "b", Entry(10, only_if_free=True), 9) == (line, Standing(None, "a", False))
    line, standing = enter(line, "b", Entry(10, only_if_free=True), 10)
    assert standing == Standing(0, "b", False)
    assert [place.ticket for place in line] == ["b"]


def test_entering_twice_is_entering_once() -> None:
    line, _ = enter(waiting("a", "b"), "a", Entry(10, only_if_free=True), 9)
    assert line == (Place("a", 19, False), Place("b", 10, False))


def test_the_head_may_save_and_anybody_when_the_line_was_lost() -> None:
    line = waiting("a", "b")
    assert may_save(line, "a")
    assert not may_save(line, "b")
    assert not may_save(line, "z")
    assert may_save((), "z")


# ---- in memory and in files, as in the algorithm -------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(operations)
def test_a_table_in_memory_does_what_the_algorithm_does(steps: list[tuple[object, ...]]) -> None:
    model, now = LineModel(), 0.0
    table = LineTable(lambda: now)
    for step in steps:
        expected = model.apply(step)
        match step:
            case ("enter", str(ticket), Entry() as entry):
                assert table.enter(KEY, ticket, entry) == expected
            case ("renew", str(ticket), float(lease_s)):
                assert table.renew(KEY, ticket, lease_s) == expected
            case ("leave", str(ticket)):
                table.leave(KEY, ticket)
            case ("wait", float(seconds)):
                now += seconds
        assert len(table) <= 1


@settings(max_examples=100, deadline=None)
@given(steps=operations)
def test_files_do_what_the_algorithm_does(
    steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, now = LineModel(), 0.0
    folder = tmp_path_factory.getbasetemp() / "lines"
    folder.mkdir(exist_ok=True)
    locks = FileLocks(folder, lambda: None)
    files = LineFiles(folder, locks, lambda: Moment("boot", now, now))
    for ticket in "abcd":
        files.leave(KEY, ticket)
    for step in steps:
        expected = model.apply(step)
        match step:
            case ("enter", str(ticket), Entry() as entry):
                assert files.enter(KEY, ticket, entry) == expected
            case ("renew", str(ticket), float(lease_s)):
                assert files.renew(KEY, ticket, lease_s) == expected
            case ("leave", str(ticket)):
                files.leave(KEY, ticket)
            case ("wait", float(seconds)):
                now += seconds
        for ticket in "abcd":
            if may_save(model.line, ticket):
                files.check_turn(KEY, ticket)
            else:
                with pytest.raises(SessionConflictError):
                    files.check_turn(KEY, ticket)


# ---- files ---------------------------------------------------------------------------------------


def test_a_session_that_nobody_waits_for_has_no_file(folder: Path) -> None:
    files = SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None)
    for number in range(100):
        key = SessionKey("", f"s{number}")
        assert files.enter(key, "a", Entry(10)).position == 0
        assert files.enter(key, "b", Entry(10)).position == 1
        files.leave(key, "a")
        files.leave(key, "b")
    assert list((folder / ".lines").iterdir()) == []


def test_what_dead_processes_left_is_removed_at_the_next_start(folder: Path) -> None:
    files = SessionFiles(folder, ttl_s=None, check_cancelled=lambda: None)
    files.enter(KEY, "live", Entry(10_000))
    files.enter(SessionKey("", "dead"), "dead", Entry(10))
    lines = folder / ".lines"
    old = Moment("another start", 5.0, time.time() - 5000)
    (lines / "@dead.line").write_bytes(encode_line((Place("dead", 10.0, False),), old))
    (lines / "@half.half").write_bytes(b"{")
    (lines / "@young.half").write_bytes(b"{")
    for name in ("ann@s1.line", "@dead.line", "@half.half"):
        os.utime(lines / name, (time.time() - 4000,) * 2)
    files.open()
    assert sorted(path.name for path in lines.iterdir()) == ["@young.half", "ann@s1.line"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"at":["b",1,1]}', b'{"at":[],"line":[["a"]]}']
)
def test_a_damaged_line_is_an_empty_one(content: bytes) -> None:
    assert decode_line(content, this_moment()) == ()


def test_a_line_from_before_a_restart_is_dated_by_the_wall_clock() -> None:
    line = (Place("a", 1030.0, False), Place("b", 1005.0, True))
    content = encode_line(line, Moment("old", 1000.0, 50_000.0))
    assert decode_line(content, Moment("old", 1020.0, 90_000.0)) == line
    assert decode_line(content, Moment("new", 7.0, 50_020.0)) == (
        Place("a", 17.0, False),
        Place("b", -8.0, True),
    )
    # A clock that was set back gives nobody more than he had.
    assert decode_line(content, Moment("new", 7.0, 40_000.0))[0].expires_at == 37.0
    # A machine that does not name its starts is dated so, too.
    content = encode_line(line, Moment("", 1000.0, 50_000.0))
    assert decode_line(content, Moment("", 7.0, 50_020.0))[0].expires_at == 17.0


def test_this_machine_names_its_start() -> None:
    one, other = this_moment(), this_moment()
    assert one.boot == other.boot != ""
    assert json.loads(json.dumps(one)) == list(one)


any_place = st.builds(Place, st.text(max_size=5), st.floats(0, 1e9), st.booleans())


@given(st.lists(any_place))
def test_a_line_is_read_as_it_was_written(places: list[Place]) -> None:
    now = Moment("boot", 1.5, 2.5)
    assert decode_line(encode_line(tuple(places), now), now) == tuple(places)
