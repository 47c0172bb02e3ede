"""Our answers byte for byte, as they come from real servers over real sockets."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from tests.http.conftest import Serve, Served
from tests.http.wire import Wire, bare, body_of, post, wire
from tests.support.driver import parse_frames

HELLO = (
    'id: 1\ndata: {"name":"assistant","content":"Hello","role":"assistant",'
    '"metadata":{"chunk":true}}\n\n'
    'id: 2\ndata: {"name":"bot","content":"wörld ✓ \u2028 \x85 \U0001f600","role":"assistant",'
    '"metadata":{"n":1},"id":"m1"}\n\n'
    'id: 3\ndata: {"name":"assistant","content":"","role":"assistant",'
    '"metadata":{"done":true}}\n\n'
).encode()


def assert_healthy(url: str) -> None:
    with wire(url) as client:
        client.send(bare("GET", "/health"))
        head = client.head()
        assert head.status == 200
        assert json.loads(client.body(head))["status"] == "healthy"
        client.send(post(body_of("healthy?", "hello")))
        assert client.body(client.head()) == HELLO


def test_a_stream_is_exactly_this(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(post(body_of("exact", "hello")))
        head = client.head()
        assert head.line == "HTTP/1.1 200 OK"
        run_id = head["x-run-id"]
        assert re.fullmatch("[0-9a-f]{24}", run_id)
        assert [(name.lower(), value) for name, value in head.headers] == [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
            ("x-run-id", run_id),
            ("transfer-encoding", "chunked"),
        ]
        body = b""
        while data := client.chunk():
            assert data.endswith(b"\n\n")  # a chunk is whole frames
            body += data
        assert body == HELLO
        # Nothing follows the last chunk, and the connection serves on.
        client.send(bare("GET", "/health/live"))
        head = client.head()
        assert head.line == "HTTP/1.1 200 OK"
        assert client.body(head) == b'{"status":"alive"}'


def test_an_error_event_comes_before_the_last(served: Served) -> None:
    process, url = served
    with wire(url) as client:
        client.send(post(body_of("error", "raise")))
        head = client.head()
        run_id = head["x-run-id"]
        assert client.body(head).decode() == (
            'id: 1\ndata: {"name":"assistant","content":"before","role":"assistant",'
            '"metadata":{"chunk":true}}\n\n'
            'id: 2\ndata: {"error":{"code":"APP_ERROR",'
            f'"message":"the app failed; its log names run {run_id}"}}}}\n\n'
            'id: 3\ndata: {"name":"assistant","content":"","role":"assistant",'
            '"metadata":{"done":true,"error":true}}\n\n'
        )
    process.expect(f"run {run_id}: the app failed(?s:.*)ValueError: the password is hunter2")


def test_line_ends_inside_a_message_are_escaped(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(post(body_of("lines", "lines")))
        body = client.body(client.head())
    assert body.startswith(
        b'id: 1\ndata: {"name":"assistant","content":'
        b'"a\\nb\\r\\nc\\r\\"\\\\/\\u0000\\u001f","role":"assistant"'
    )
    assert parse_frames(body)[0].body["content"] == 'a\nb\r\nc\r"\\/\x00\x1f'


def test_comments_keep_a_silent_stream_alive(serve: Serve) -> None:
    _, url = serve(ping_interval=0.2)
    with wire(url) as client:
        client.send(post(body_of("ping", "wait")))
        client.head()
        assert b'"waiting"' in client.chunk()
        assert client.chunk() == b": ping\n\n"
        assert client.chunk() == b": ping\n\n"


def test_what_is_ready_comes_at_once(served: Served) -> None:
    """Five events, 0.15 seconds apart, arrive one by one."""
    with wire(served[1]) as client:
        client.send(post(body_of("pulse", "pulse")))
        client.head()
        arrivals = []
        for number in range(5):
            assert f'"content":"{number}"'.encode() in client.chunk()
            arrivals.append(time.monotonic())
        assert client.chunk().count(b"data: ") == 1
        assert client.chunk() == b""
    assert arrivals[-1] - arrivals[0] > 0.4


def test_many_streams_over_one_connection(served: Served) -> None:
    with wire(served[1]) as client:
        for _ in range(30):
            client.send(post(body_of("again", "hello")))
            assert client.body(client.head()) == HELLO


def test_http_1_0_ends_with_the_connection(served: Served, implementation: str) -> None:
    with wire(served[1]) as client:
        client.send(post(body_of("old", "hello"), version="1.0"))
        head = client.head()
        assert head.status == 200
        # With httptools, uvicorn sends chunks to whoever asks, though HTTP/1.0 knows none.
        assert ("transfer-encoding" in head) == (implementation == "httptools")
        assert client.body(head) == HELLO
        assert client.to_the_end() == b""


def test_connection_close_is_respected(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(post(body_of("close", "hello"), "Connection: close"))
        head = client.head()
        assert head["connection"] == "close"
        assert client.chunks() == HELLO
        assert client.to_the_end() == b""


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(
            post(body_of("p1", "hello"))
            + bare("GET", "/health/live")
            + post(body_of("p2", "raise"))
            + post(b"{")
            + post(body_of("p3", "hello"))
        )
        assert client.body(client.head()) == HELLO
        assert client.body(client.head()) == b'{"status":"alive"}'
        assert b'"error":true' in client.body(client.head())
        head = client.head()
        assert head.status == 400
        assert b"INVALID_REQUEST" in client.body(head)
        assert client.body(client.head()) == HELLO


def test_a_chunked_request_is_read(served: Served) -> None:
    body = body_of("chunked", "hello")
    with wire(served[1]) as client:
        client.send(post(b"", "Transfer-Encoding: chunked", length=False))
        for byte in body:
            client.send(b"1\r\n" + bytes([byte]) + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.body(client.head()) == HELLO


def test_a_client_that_waits_to_be_asked_for_its_body(served: Served) -> None:
    body = body_of("expect", "hello")
    with wire(served[1]) as client:
        client.send(post(body, "Expect: 100-continue")[: -len(body)])
        assert client.head().status == 100
        client.send(body)
        assert client.body(client.head()) == HELLO


def test_json_mode_is_exactly_this(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(post(body_of("whole", "hello"), "Accept: application/json"))
        head = client.head()
        run_id = head["x-run-id"]
        expected = (
            f'{{"session_id":"whole","run_id":"{run_id}","messages":['
            '{"name":"assistant","content":"Hello","role":"assistant","metadata":{"chunk":true}},'
            '{"name":"bot","content":"wörld ✓ \u2028 \x85 \U0001f600","role":"assistant",'
            '"metadata":{"n":1},"id":"m1"}]}'
        ).encode()
        assert {name.lower(): value for name, value in head.headers} == {
            "content-type": "application/json",
            "content-length": str(len(expected)),
            "cache-control": "no-store",
            "x-run-id": run_id,
        }
        assert client.body(head) == expected


@pytest.mark.parametrize("path", ["/invoke/", "/health/", "/health/ready/"])
def test_nothing_is_redirected(served: Served, path: str) -> None:
    with wire(served[1]) as client:
        is_post = path.startswith("/invoke")
        client.send(post(body_of("slash", "hello"), path=path) if is_post else bare("GET", path))
        head = client.head()
        assert head.status == 200
        assert "location" not in head


def test_methods(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(bare("OPTIONS", "/invoke"))
        head = client.head()
        assert (head.status, head["allow"]) == (204, "POST, OPTIONS")
        client.send(bare("GET", "/invoke"))
        head = client.head()
        assert (head.status, head["allow"]) == (405, "POST, OPTIONS")
        assert b"METHOD_NOT_ALLOWED" in client.body(head)
        client.send(bare("HEAD", "/health"))
        head = client.head()
        assert head.status == 200
        assert int(head["content-length"]) > 0  # of what GET would give; nothing follows
        client.send(bare("HEAD", "/invoke"))
        head = client.head()
        assert (head.status, head["allow"]) == (405, "POST, OPTIONS")
        client.send(bare("GET", "/nothing"))
        head = client.head()
        assert head.status == 404
        assert client.body(head) == (
            b'{"error":{"code":"NOT_FOUND","message":"there is POST /invoke and GET /health"}}'
        )


def test_paths_that_are_spelled_strangely(served: Served) -> None:
    with wire(served[1]) as client:
        for path in ("/%69nvoke", "/invoke?x=%00&y=1", "/invoke/?", "/invoke#f"):
            client.send(post(body_of("strange", "hello"), path=path))
            head = client.head()
            client.body(head)
            assert head.status in (200, 400, 404), path
        for path in ("/%00", "/%ff%fe", "/invoke%2f..%2fhealth", "/" + "x" * 5000):
            client.send(bare("GET", path))
            head = client.head()
            client.body(head)
            assert head.status in (404, 400, 405), path


# ---- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "chunked"])
def test_ten_megabytes_are_refused(served: Served, is_announced: bool) -> None:
    """The answer comes while the client still sends; how it fares with that is its own affair."""
    block = b" " * 65536
    with wire(served[1]) as client:
        if is_announced:
            client.send(post(b"", f"Content-Length: {len(block) * 160}", length=False))
        else:
            client.send(post(b"", "Transfer-Encoding: chunked", length=False))
        try:
            for _ in range(160):
                client.send(block if is_announced else b"10000\r\n" + block + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        else:
            head = client.head()
            assert head.status == 413
            assert json.loads(client.body(head))["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert_healthy(served[1])


def test_a_refusal_before_the_body_can_be_read_by_a_client_that_waits(served: Served) -> None:
    with wire(served[1]) as client:
        client.send(post(b"", "Content-Length: 10485760", "Expect: 100-continue", length=False))
        head = client.head()
        assert head.status == 413
        assert json.loads(client.body(head))["error"]["code"] == "PAYLOAD_TOO_LARGE"
    assert_healthy(served[1])


def test_a_body_that_stalls_is_refused(serve: Serve) -> None:
    _, url = serve(send_timeout=0.5)
    body = body_of("stall", "hello")
    with wire(url) as client:
        client.send(post(body)[:-10])
        head = client.head()
        assert head.status == 400
        assert json.loads(client.body(head))["error"]["message"].startswith("the body stopped")
    assert_healthy(url)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", [0, 1, 30])
def test_a_client_that_leaves_within_its_body_is_forgotten(
    served: Served, how: str, sent: int
) -> None:
    process, url = served
    body = body_of(f"half {how} {sent}", "hello")
    before = process.output
    with wire(url) as client:
        client.send(post(body)[: -len(body) + sent])
        getattr(client, how)()
    assert_healthy(url)
    new = process.output[len(before) :]
    assert "Traceback" not in new
    assert f"half {how}" not in new


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /invoke HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /invoke HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["NUL", "no-path", "negative", "two-lengths", "bad-chunk", "9.9", "TLS", "HTTP2"],
)
def test_what_is_no_http_leaves_the_app_alone(served: Served, garbage: bytes) -> None:
    with wire(served[1]) as client:
        client.send(garbage)
        client.close()
    assert_healthy(served[1])


# ---- clients that leave ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_cancels_its_run(served: Served, how: str) -> None:
    process, url = served
    with wire(url) as client:
        client.send(post(body_of(f"leave-{how}", "wait")))
        client.head()
        assert b"waiting" in client.chunk()
        getattr(client, how)()
    process.expect(f"left leave-{how} disconnected")
    assert "returned without" not in process.output
    assert_healthy(url)


def test_a_client_of_a_whole_answer_that_leaves_cancels_its_run(served: Served) -> None:
    process, url = served
    with wire(url) as client:
        client.send(post(body_of("leave-json", "wait"), "Accept: application/json"))
        # The run has begun once its session is found busy, by nobody but us.
        time.sleep(0.2)
        client.close()
    process.expect("left leave-json disconnected")


def test_a_client_that_stops_reading_is_abandoned_and_costs_nobody(serve: Serve) -> None:
    process, url = serve(send_timeout=1)
    with wire(url, receive_buffer=4096) as stalled:
        stalled.send(post(body_of("stalled", "flood")))
        stalled.head()
        process.expect(r"flooded 0")
        slowest = 0.0
        deadline = time.monotonic() + 15
        while "left stalled" not in process.output:
            began = time.monotonic()
            assert_healthy(url)
            slowest = max(slowest, time.monotonic() - began)
            assert time.monotonic() < deadline
        process.expect("left stalled disconnected")
        assert slowest < 1
    # What the system's buffers took, and our 64 KiB: not the whole of it.
    produced = max(int(number) for number in re.findall(r"flooded (\d+)", process.output))
    assert produced * 4096 < 16_000_000


def test_a_slow_client_gets_everything(served: Served) -> None:
    with wire(served[1], receive_buffer=4096) as client:
        client.send(post(body_of("slow", "much")))
        client.head()
        body = b""
        while data := client.chunk():
            body += data
    frames = parse_frames(body)
    assert [frame.number for frame in frames] == list(range(1, 502))


def open_files(served: Served) -> int:
    return len(list(Path(f"/proc/{served[0].pid}/fd").iterdir()))


def test_no_file_stays_open_after_clients_left(served: Served) -> None:
    process, url = served
    assert_healthy(url)
    before = open_files(served)
    clients = []
    for number in range(40):
        client = Wire(url)
        client.send(post(body_of(f"fd-{number}", "wait")))
        clients.append(client)
    for number, client in enumerate(clients):
        client.head()
        assert b"waiting" in client.chunk()
        (client.reset if number % 2 else client.close)()
    for number in range(40):
        process.expect(f"left fd-{number} disconnected")
    deadline = time.monotonic() + 10
    while open_files(served) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
