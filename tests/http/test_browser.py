"""A page in a real browser that reads our streams, from the same host app and from another site."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import Serve, Served
from tests.support.driver import LIMIT_S

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")

# How a page reads a POST's event stream: EventSource itself can only GET. It is the parser of the
# HTML standard (9.2.6), fed by fetch().
READER = """
async (path, content, options = {}) => {
  const session = options.session ?? "browser";
  const abort = new AbortController();
  const response = await fetch(path, {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({session_id: session, message: {content}}),
    signal: abort.signal,
  });
  const seen = {status: response.status, type: response.headers.get("content-type"),
                runId: response.headers.get("x-run-id"), events: [], comments: 0, at: []};
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "", id = "", data = [];
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return seen;
    buffer += value;
    let end;
    while ((end = buffer.search(/\\r\\n|\\n|\\r/)) >= 0) {
      const line = buffer.slice(0, end);
      buffer = buffer.slice(end + (buffer.startsWith("\\r\\n", end) ? 2 : 1));
      if (line === "") {
        if (data.length) {
          seen.events.push({id, data: JSON.parse(data.join("\\n"))});
          seen.at.push(performance.now());
          if (options.leaveAfter === seen.events.length) { abort.abort(); return seen; }
        }
        data = [];
      } else if (line.startsWith(":")) {
        seen.comments += 1;
      } else {
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") data.push(text);
        if (name === "id") id = text;
      }
    }
  }
}
"""


@pytest.fixture(scope="module")  # its event loop would be in the way of other tests'
def browser() -> Generator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    flags = (
        *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--disable-extensions", "--disable-default-apps", "--no-proxy-server"),
    )
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(flags))
        yield chromium
        chromium.close()


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve("host", ping_interval=0.3)


@pytest.fixture
def page(browser: Any, served: Served) -> Generator[Any]:
    """A page of the host app that we are attached to."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(LIMIT_S * 1000)
    page.goto(f"{served[1]}/page")
    page.evaluate(f"() => {{ window.invoke = {READER} }}")
    yield page
    context.close()


def test_a_page_reads_a_stream(page: Any) -> None:
    seen = page.evaluate("() => invoke('/agent/invoke', 'hello')")
    assert seen["status"] == 200
    assert seen["type"] == "text/event-stream"
    assert seen["runId"]
    assert [event["id"] for event in seen["events"]] == ["1", "2", "3"]
    contents = [event["data"]["content"] for event in seen["events"]]
    assert contents == ["Hello", "wörld ✓ \u2028 \x85 \U0001f600", ""]
    assert seen["events"][-1]["data"]["metadata"] == {"done": True}


def test_a_page_sees_each_event_when_it_comes(page: Any) -> None:
    seen = page.evaluate("() => invoke('/agent/invoke', 'pulse', {session: 'pulse'})")
    assert [event["data"]["content"] for event in seen["events"]] == ["0", "1", "2", "3", "4", ""]
    assert seen["at"][4] - seen["at"][0] > 400  # milliseconds; all at once would be none


def test_comments_are_invisible_to_a_page(page: Any) -> None:
    seen = page.evaluate(
        """async () => {
          const first = invoke('/agent/invoke', 'wait', {session: 'shared', leaveAfter: 1});
          await first;
          return await invoke('/agent/invoke', 'pulse', {session: 'shared'});
        }"""
    )
    assert [event["id"] for event in seen["events"]] == ["1", "2", "3", "4", "5", "6"]


def test_a_page_that_aborts_cancels_its_run(page: Any, served: Served) -> None:
    page.evaluate("() => invoke('/agent/invoke', 'wait', {session: 'abort', leaveAfter: 1})")
    served[0].expect("left abort disconnected")


def test_a_tab_that_is_closed_cancels_its_run(page: Any, served: Served) -> None:
    page.evaluate(
        """async () => {
          window.events = 0;
          invoke('/agent/invoke', 'wait', {session: 'closed'});
        }"""
    )
    # The answer has begun once the server has said so in a second stream's place in line.
    page.evaluate("() => invoke('/agent/invoke', 'hello', {session: 'other'})")
    page.context.close()
    served[0].expect("left closed disconnected")


def test_many_streams_at_once(page: Any) -> None:
    seen = page.evaluate(
        """() => Promise.all([0, 1, 2, 3, 4].map(
          (n) => invoke('/agent/invoke', 'pulse', {session: 'many ' + n})))"""
    )
    for each in seen:
        assert len(each["events"]) == 6


def test_a_page_sees_errors_as_json(page: Any) -> None:
    seen = page.evaluate(
        """async () => {
          const response = await fetch('/agent/invoke', {
            method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{'});
          return [response.status, await response.json()];
        }"""
    )
    assert seen[0] == 400
    assert seen[1]["error"]["code"] == "INVALID_REQUEST"


def test_another_sites_page_can_neither_read_nor_start_anything(page: Any, served: Served) -> None:
    """No CORS: the browser asks first, and is not told yes; what needs no question is refused."""
    process, url = served
    elsewhere = url.replace("127.0.0.1", "localhost")
    outcomes = page.evaluate(
        """async (base) => {
          const body = JSON.stringify({session_id: 'csrf', message: {content: 'hello'}});
          const attempt = async (options) => {
            const request = {method: 'POST', body, ...options};
            try { return (await fetch(base + '/agent/invoke', request)).type; }
            catch (error) { return error.name; }
          };
          return [
            await attempt({headers: {'Content-Type': 'application/json'}}),
            await attempt({}),
            await attempt({mode: 'no-cors', headers: {'Content-Type': 'application/json'}}),
            await attempt({mode: 'no-cors'}),
          ];
        }""",
        elsewhere,
    )
    assert outcomes == ["TypeError", "TypeError", "opaque", "opaque"]
    # Same site again, and it works: nothing of the above has run.
    page.evaluate("() => invoke('/agent/invoke', 'hello', {session: 'after'})")
    process.expect("left after None")
    assert "left csrf" not in process.output
