"""One message to an agent, and the answer on the terminal."""

from __future__ import annotations

import io
import json
import signal
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_agentrt._cli._event_stream import read_events
from asgi_agentrt._cli._printer import Printer
from tests.support.sse_server import Script

from .conftest import Agentrt, Spawn

DONE = {"name": "assistant", "content": "", "role": "assistant", "metadata": {"done": True}}
FAILED = DONE | {"metadata": {"done": True, "error": True}}
ERROR = {"error": {"code": "APP_ERROR", "message": "the app failed"}}


def event(value: object) -> bytes:
    return b"id: 1\ndata: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def piece(text: object, **more: object) -> dict[str, object]:
    return {"name": "a", "content": text, "role": "assistant", "metadata": {"chunk": True}, **more}


def whole(text: object, **more: object) -> dict[str, object]:
    return {"name": "a", "content": text, "role": "assistant", "metadata": {}, **more}


def test_the_request_is_what_the_server_expects(agentrt: Agentrt, script: Script) -> None:
    script.pieces = [event(DONE)]
    outcome = agentrt(
        *("invoke", script.url + "/agent?v=1", "Hé\u2713", "--session", "s 1"),
        *("--user", "u1", "--api-key", "k1"),
    )
    assert outcome == (0, "", "")
    ((path, headers, body),) = script.requests
    assert path == "/agent/invoke?v=1"
    assert headers["accept"] == "text/event-stream"
    assert headers["authorization"] == "Bearer k1"
    assert body == {
        "session_id": "s 1",
        "message": {"name": "user", "content": "Hé\u2713", "role": "user"},
        "metadata": {"user_id": "u1"},
    }


def test_without_user_and_key_neither_is_sent(agentrt: Agentrt, script: Script) -> None:
    script.pieces = [event(DONE)]
    assert agentrt("invoke", script.url, "hi", "--session", "s1").code == 0
    ((_, headers, body),) = script.requests
    assert "authorization" not in headers
    assert body["metadata"] == {}


@pytest.mark.parametrize(
    ("given_url", "path"),
    [
        ("", "/invoke"),
        ("/", "/invoke"),
        ("/invoke", "/invoke"),
        ("/invoke/", "/invoke"),
        ("/agent", "/agent/invoke"),
        ("/agent/", "/agent/invoke"),
        ("/agent/invoke", "/agent/invoke"),
        ("/a%2Fb", "/a%2Fb/invoke"),
        ("/reinvoke", "/reinvoke/invoke"),
    ],
)
def test_the_url_may_end_in_invoke(
    agentrt: Agentrt, script: Script, given_url: str, path: str
) -> None:
    script.pieces = [event(DONE)]
    assert agentrt("invoke", script.url + given_url, "hi", "--session", "s1").code == 0
    assert script.requests[0][0] == path


def test_the_url_may_do_without_its_scheme(agentrt: Agentrt, script: Script) -> None:
    script.pieces = [event(DONE)]
    host = script.url.removeprefix("http://")
    assert agentrt("invoke", host, "hi", "--session", "s1").code == 0


def test_pieces_are_joined_and_messages_are_lines(agentrt: Agentrt, script: Script) -> None:
    messages = [piece("Hel"), piece("lo"), whole("A line."), whole("Another\n"), DONE]
    script.pieces = [b": ping\n\n", *map(event, messages)]
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    assert outcome == (0, "Hello\nA line.\nAnother\n", "")


def test_the_answer_is_printed_as_it_comes(spawn: Spawn, script: Script) -> None:
    """The server sends the second half when the test has read the first."""
    go_on = threading.Event()
    script.pieces = [event(piece("first")), go_on, event(piece(" second")), event(DONE)]
    process = spawn("invoke", script.url, "hi", "--session", "s1")
    assert process.read(5) == "first"
    go_on.set()
    assert process.wait() == (0, " second\n", "")


def test_ctrl_c_ends_it_quietly(spawn: Spawn, script: Script) -> None:
    never = threading.Event()
    script.pieces = [event(piece("first")), never]
    process = spawn("invoke", script.url, "hi", "--session", "s1")
    assert process.read(5) == "first"
    process.signal(signal.SIGINT)
    assert process.wait() == (130, "\n", "")
    never.set()


def test_an_error_event_goes_to_stderr_and_is_code_1(agentrt: Agentrt, script: Script) -> None:
    script.pieces = [event(piece("Hel")), event(ERROR), event(FAILED)]
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    assert outcome == (1, "Hel\n", "agentrt: APP_ERROR: the app failed (run run-7)\n")


def test_json_prints_every_event_as_it_was_sent(agentrt: Agentrt, script: Script) -> None:
    events = [piece("Hel\u2028lo"), ERROR, FAILED]
    script.pieces = [event(each) for each in events]
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1", "--json")
    assert outcome.code == 1
    assert [json.loads(line) for line in outcome.out.split("\n")[:-1]] == events
    assert outcome.err == "agentrt: APP_ERROR: the app failed (run run-7)\n"


def test_an_error_before_the_stream_is_told_in_the_servers_words(
    agentrt: Agentrt, script: Script
) -> None:
    script.status, script.headers = 409, {"Content-Type": "application/json"}
    script.pieces = [b'{"error":{"code":"SESSION_BUSY","message":"busy with run 1"}}']
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    assert outcome == (1, "", "agentrt: the server answers 409: SESSION_BUSY: busy with run 1\n")


@pytest.mark.parametrize(
    ("status", "kind", "body", "message"),
    [
        (404, "text/html", b"<h1>", "the server answers 404; is this the URL of an agent?"),
        (200, "text/html", b"<h1>", "the server answers with text/html; is this the URL of an"),
        (307, "text/plain", b"", "the server answers 307; is this"),
        (500, "application/json", b'{"error": "x"}', "answers 500: an error without a description"),
        (502, "text/plain", b"x" * 1_000_000, "the server answers 502; is this"),
        (502, "application/json", b"[" * 50_000, "the server answers 502; is this"),
    ],
)
def test_a_server_that_is_no_agent_is_told_in_one_line(
    agentrt: Agentrt, script: Script, status: int, kind: str, body: bytes, message: str
) -> None:
    script.status, script.headers, script.pieces = status, {"Content-Type": kind}, [body]
    script.pieces = [body] if body else []
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


@pytest.mark.parametrize("ends", [True, False])
def test_an_answer_without_its_end_is_a_failure(
    agentrt: Agentrt, script: Script, ends: bool
) -> None:
    script.pieces, script.ends = [event(piece("Hel"))], ends
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    assert (outcome.code, outcome.out) == (1, "Hel\n")
    assert outcome.err.startswith("agentrt: the answer broke off")


@pytest.mark.parametrize("data", [b"nonsense", b"[1]", b"[" * 50_000])
def test_an_event_that_is_no_message_is_a_failure(
    agentrt: Agentrt, script: Script, data: bytes
) -> None:
    script.pieces = [b"data: " + data + b"\n\n"]
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    assert outcome.err == "agentrt: the answer holds an event that is not a message\n"
    assert outcome.code == 1


def test_nobody_there_is_one_message_without_the_password(agentrt: Agentrt) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening
        port = unused.getsockname()[1]
        outcome = agentrt("invoke", f"http://joe:pw@127.0.0.1:{port}", "hi", "--session", "s1")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"agentrt: cannot connect to http://127.0.0.1:{port}/invoke: ")
    assert "joe" not in outcome.err


def test_a_server_that_is_silent_is_given_up(
    agentrt: Agentrt, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asgi_agentrt._cli._invoke._SILENCE_LIMIT_S", 0.1)
    never = threading.Event()
    script.pieces = [event(piece("Hel")), never]
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1")
    never.set()
    assert (outcome.code, outcome.out) == (1, "Hel\n")
    assert outcome.err == f"agentrt: {script.url}/invoke does not answer\n"


@pytest.mark.parametrize("key", ["two\nlines", "ké\u2713"])
def test_a_key_that_cannot_be_sent_is_not_printed(
    agentrt: Agentrt, script: Script, key: str
) -> None:
    outcome = agentrt("invoke", script.url, "hi", "--session", "s1", "--api-key", key)
    assert outcome.code == 1
    assert outcome.err.startswith("agentrt: the arguments ")
    assert key[:2] not in outcome.err.replace("the arguments", "")


def test_arguments_that_are_not_unicode_are_one_message(agentrt: Agentrt, script: Script) -> None:
    outcome = agentrt("invoke", script.url, "h\udcff", "--session", "s1")
    assert outcome.err == "agentrt: the arguments hold characters that cannot be sent\n"


def printed(*messages: dict[str, Any]) -> tuple[str, str]:
    out, notes = io.StringIO(), io.StringIO()
    printer = Printer(out, notes)
    for message in messages:
        printer.show(message)
    printer.end_line()
    return out.getvalue(), notes.getvalue()


def test_pieces_of_two_messages_are_on_two_lines() -> None:
    shown = printed(piece("a", id="1"), piece("b", id="1"), piece("c", id="2"))
    assert shown == ("ab\nc\n", "")


def test_blocks_show_their_text_and_name_each_tool_call_once() -> None:
    call = {"type": "tool_call", "id": "t1", "name": "search", "input": "{"}
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Wait."}, call]
    shown = printed(piece(blocks), piece([call]), piece([{"type": "text", "text": None}, "?"]))
    assert shown == ("Wait.\n", "[calls search]\n")


def test_content_of_an_unknown_kind_is_passed_over() -> None:
    assert printed(whole(7), {"metadata": None}) == ("", "")


def test_a_question_for_consent_is_noted() -> None:
    shown = printed(whole("May I?", metadata={"confirm": []}))
    assert shown[0] == "May I?\n"
    assert "consent" in shown[1]


def test_an_agent_steers_no_terminal() -> None:
    call = {"type": "tool_call", "id": "1", "name": "x\x1b[2Jy"}
    shown = printed(piece("a\x1b]0;title\x07b\x9b2J\tc\r\nd"), piece([call]))
    assert shown == ("a]0;titleb2J\tc\nd\n", "[calls x[2Jy]\n")


@given(st.data())
def test_events_are_the_same_however_they_are_cut(data: st.DataObject) -> None:
    ending = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    lines = [b"data: one\xe2\x80\xa8", b"", b": ping", b"", b"id: 7", b"data:two", b"data:  three"]
    stream = ending.join([*lines, b"", b"event: x", b"", b"data: cut off"])
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    places = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    chunks = [stream[begin:end] for begin, end in places]
    assert list(read_events(chunks)) == ["one\u2028", "two\n three"]
