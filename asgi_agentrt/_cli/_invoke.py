"""`agentrt invoke`: one message to an agent, and its answer as it comes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import httpx

from ._errors import CommandError
from ._event_stream import read_events
from ._printer import Printer

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage] (its only name)

_CONNECT_LIMIT_S = 10.0
# A server of ours sends a comment every few seconds; a silence of this length is a dead one.
_SILENCE_LIMIT_S = 600.0
_REFUSAL_LIMIT_BYTES = 64 * 1024


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "invoke",
        help="send one message to an agent",
        description="Send one message to an agent and print its answer as it comes.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "url", metavar="URL", type=_url, help="where the agent is, with or without /invoke"
    )
    parser.add_argument("text", help="the message")
    parser.add_argument("--session", required=True, metavar="ID", help="the conversation")
    parser.add_argument("--user", metavar="ID", help="whose conversation it is")
    parser.add_argument("--api-key", metavar="KEY", help="the server's api_key")
    parser.add_argument(
        "--json", action="store_true", help="print the events as JSON, one on each line"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Send the message and print the answer.

    Raises:
        CommandError: nobody answers, or not in the way of an agent runtime.
    """
    printer = Printer(sys.stdout, sys.stderr)
    try:
        with _answer(arguments) as response:
            return _print_events(response, printer, as_json=arguments.json)
    finally:
        printer.end_line()


@contextmanager
def _answer(arguments: argparse.Namespace) -> Generator[httpx.Response]:
    """Hold the answer open; turns httpx's errors, also those while it is read, into ours."""
    url: httpx.URL = arguments.url
    metadata = {} if arguments.user is None else {"user_id": arguments.user}
    message = {"name": "user", "content": arguments.text, "role": "user"}
    body = {"session_id": arguments.session, "message": message, "metadata": metadata}
    headers = {"Accept": "text/event-stream"}
    if arguments.api_key is not None:
        headers["Authorization"] = f"Bearer {arguments.api_key}"
    where = str(url.copy_with(username=None, password=None))
    timeout = httpx.Timeout(_CONNECT_LIMIT_S, read=_SILENCE_LIMIT_S)
    try:
        with (
            httpx.Client(timeout=timeout) as client,
            client.stream("POST", url, json=body, headers=headers) as response,
        ):
            yield response
    except UnicodeEncodeError:
        raise CommandError("the arguments hold characters that cannot be sent") from None
    except httpx.ConnectError as error:
        raise CommandError(f"cannot connect to {where}: {error}") from None
    except httpx.TimeoutException:
        raise CommandError(f"{where} does not answer") from None
    except httpx.LocalProtocolError:  # its text quotes the header, and that may be the key
        raise CommandError("the arguments cannot be sent as an HTTP request") from None
    except httpx.HTTPError as error:
        raise CommandError(f"the answer broke off: {error}") from None


def _print_events(response: httpx.Response, printer: Printer, *, as_json: bool) -> int:
    """Print the events of an answer; returns the exit code."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code != 200 or kind != "text/event-stream":
        raise CommandError(_refusal(response, kind))
    has_failed = False
    for data in read_events(response.iter_bytes()):
        event = _decode(data)
        if as_json:
            print(data, flush=True)
        if "error" in event:
            has_failed = True
            printer.note(f"agentrt: {_error_text(event)} (run {_run_id(response)})")
        elif _is_done(event):
            return 1 if has_failed else 0
        elif not as_json:
            printer.show(event)
    raise CommandError("the answer broke off before its end")


def _decode(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise CommandError("the answer holds an event that is not a message")
    return cast(dict[str, Any], event)


def _is_done(event: dict[str, Any]) -> bool:
    metadata = event.get("metadata")
    return isinstance(metadata, dict) and cast(dict[str, Any], metadata).get("done") is True


def _error_text(event: dict[str, Any]) -> str:
    match event.get("error"):
        case {"code": code, "message": message}:
            return f"{code}: {message}"
        case _:
            return "an error without a description"


def _run_id(response: httpx.Response) -> str:
    return str(response.headers.get("x-run-id", "unknown"))


def _refusal(response: httpx.Response, kind: str) -> str:
    """Say why this is no answer of an agent; with the server's own words if it is one of ours."""
    answer = bytearray()
    for chunk in response.iter_bytes():
        answer += chunk
        if len(answer) > _REFUSAL_LIMIT_BYTES:
            break
    try:
        event: object = json.loads(bytes(answer[:_REFUSAL_LIMIT_BYTES]))
    except (ValueError, RecursionError):
        event = None
    if isinstance(event, dict) and "error" in event:
        text = _error_text(cast(dict[str, Any], event))
        return f"the server answers {response.status_code}: {text}"
    if response.status_code != 200:
        return f"the server answers {response.status_code}; is this the URL of an agent?"
    return f"the server answers with {kind or 'no content type'}; is this the URL of an agent?"


def _url(given: str) -> httpx.URL:
    text = given if "://" in given else f"http://{given}"
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{given!r} is not an http or https URL")
    path, _, query = url.raw_path.partition(b"?")
    path = path.rstrip(b"/")
    if not path.endswith(b"/invoke"):
        path += b"/invoke"
    return url.copy_with(raw_path=path + b"?" + query if query else path, fragment=None)
