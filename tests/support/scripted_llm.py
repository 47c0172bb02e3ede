"""A scripted model behind an OpenAI-compatible API, on a real loopback socket.

The model name of a request says what the model does, so one server serves every test:

    say                       "Hello, here is the answer."
    say:TEXT                  TEXT
    call:NAME:JSON            calls tool NAME with the arguments JSON, then says "Done."
    calls:JSON                calls [{"name": …, "arguments": {…}}, …] at once, then says "Done."
    turns:JSON                a turn a round: [{"call": [NAME, {…}]}, {"calls": […]}, {"say": TEXT}]
    error:STATUS              answers with that HTTP status
    hang                      streams "Hello, " and then nothing more until the client leaves
    hang:N                    the same from round N on (0 is the first)

Rounds are the model's own tool-calling messages since the last user message. A history that OpenAI
refuses (a tool call without its result right after it) is refused with 400. Text is streamed word
by word, arguments in pieces of eight characters; `stream: false` gets it in one piece.

`python -m tests.support.scripted_llm` prints `Listening on URL` (with `/v1`) and serves until it is
terminated.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

# {"say": text}, {"calls": [{"name": …, "arguments": {…}}]}, {"hang": text} or {"error": status}
Turn = dict[str, Any]
_HELLO = "Hello, here is the answer."


def turn_for(model: str, messages: list[dict[str, Any]]) -> Turn:
    """Return what the scripted model does next in this conversation."""
    kind, _, rest = model.partition(":")
    if kind == "say":
        return {"say": rest or _HELLO}
    if kind == "error":
        return {"error": int(rest)}
    number = _round(messages)
    if kind == "hang":
        return {"hang": "Hello, "} if number >= int(rest or 0) else {"say": _HELLO}
    script: list[Turn]
    if kind == "call":
        name, _, arguments = rest.partition(":")
        calls = [{"name": name, "arguments": json.loads(arguments or "{}")}]
        script = [{"calls": calls}]
    elif kind == "calls":
        script = [{"calls": json.loads(rest)}]
    elif kind == "turns":
        script = json.loads(rest)
    else:
        return {"say": _HELLO}
    turn: Turn = script[number] if number < len(script) else {"say": "Done."}
    if "call" in turn:
        called, given = turn["call"]
        turn = {"calls": [{"name": called, "arguments": given}]}
    return turn


def _round(messages: list[dict[str, Any]]) -> int:
    """Count the model's own tool-calling messages since the last user message."""
    count = 0
    for message in reversed(messages):
        if message["role"] == "user" and not _is_hint(message):
            break
        count += bool(message["role"] == "assistant" and message.get("tool_calls"))
    return count


def _open_calls(messages: list[dict[str, Any]]) -> set[str]:
    """Return the ids of tool calls that are not answered by the messages right after them."""
    unanswered: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            unanswered.discard(message["tool_call_id"])
            continue
        if unanswered:
            break
        unanswered = {call["id"] for call in message.get("tool_calls") or ()}
    return unanswered


def _is_hint(message: dict[str, Any]) -> bool:
    # AgentScope puts hints such as the current time into user messages of their own.
    return "<system-" in json.dumps(message.get("content"))


def _pieces(turn: Turn) -> Iterator[dict[str, Any]]:
    if "calls" not in turn:
        for word in re.findall(r"\S+\s*", turn.get("say") or turn.get("hang") or ""):
            yield {"content": word}
        return
    for index, call in enumerate(turn["calls"]):
        function = {"name": call["name"], "arguments": ""}
        identity = f"call_{index}_{time.monotonic_ns()}"
        call_start = {"index": index, "id": identity, "type": "function", "function": function}
        yield {"tool_calls": [call_start]}
        arguments = json.dumps(call["arguments"])
        for start in range(0, len(arguments), 8):
            piece = {"arguments": arguments[start : start + 8]}
            yield {"tool_calls": [{"index": index, "function": piece}]}


def _whole(turn: Turn) -> dict[str, Any]:
    if "calls" not in turn:
        return {"role": "assistant", "content": turn.get("say", turn.get("hang", ""))}
    calls = [
        {
            "id": f"call_{index}_{time.monotonic_ns()}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for index, call in enumerate(turn["calls"])
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@dataclass
class ScriptedLLM:
    """The running server. `requests` holds the JSON bodies received, oldest first."""

    base_url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    idle: threading.Event = field(default_factory=threading.Event)

    def wait_idle(self) -> None:
        """Block until the stream that was answered last has ended, for five seconds at most."""
        assert self.idle.wait(5)

    def app(self) -> Starlette:
        """Return the ASGI app."""
        return Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if _open_calls(body["messages"]):
            return _refusal(400, "a tool call has no result")
        turn = turn_for(body["model"], body["messages"])
        if "error" in turn:
            return _refusal(turn["error"], "scripted failure")
        if body.get("stream"):
            return StreamingResponse(self._stream(turn), media_type="text/event-stream")
        if "hang" in turn:
            await anyio.sleep_forever()
        reason = "tool_calls" if "calls" in turn else "stop"
        choice = {"index": 0, "message": _whole(turn), "finish_reason": reason}
        return JSONResponse(_envelope("chat.completion", choices=[choice], usage=_USAGE))

    async def _stream(self, turn: Turn) -> AsyncIterator[str]:
        self.idle.clear()
        try:
            yield _chunk({"role": "assistant", "content": ""}, None)
            for delta in _pieces(turn):
                yield _chunk(delta, None)
            if "hang" in turn:
                await anyio.sleep_forever()
            yield _chunk({}, "tool_calls" if "calls" in turn else "stop")
            yield _event(_envelope("chat.completion.chunk", choices=[], usage=_USAGE))
            yield "data: [DONE]\n\n"
        finally:
            self.idle.set()


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "scripted"}}, status_code=status)


_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def _envelope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "scripted", **fields}


def _chunk(delta: dict[str, Any], reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return _event(_envelope("chat.completion.chunk", choices=[choice]))


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


@contextmanager
def serve() -> Iterator[ScriptedLLM]:
    """Serve in a thread; `base_url` ends in `/v1`."""
    llm = ScriptedLLM()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    llm.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(
        uvicorn.Config(llm.app(), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    # Connections wait in the backlog until the server accepts, so nobody has to wait for it here.
    listener.listen(128)
    thread.start()
    try:
        yield llm
    finally:
        server.should_exit = True
        thread.join(5)
        listener.close()


if __name__ == "__main__":
    with serve() as running:
        print(f"Listening on {running.base_url}", flush=True)  # noqa: T201  for the one who runs it
        signal.pause()
