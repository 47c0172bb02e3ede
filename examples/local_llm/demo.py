"""Start the model, serve the host, ask over HTTP, print what streams, stop everything."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx

HERE = Path(__file__).resolve().parent
QUESTIONS = ("Hello, my name is Ada. What is the capital of France?", "What is my name?")
START_LIMIT_S = 120
STOP_LIMIT_S = 15


class Server:
    """A server as a process of its own; its last lines are kept for when it fails."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=50)
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=HERE,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._read, daemon=True).start()

    def address(self, pattern: str) -> str:
        """Wait until it says where it listens.

        Raises:
            SystemExit: it ended, or took too long; shows what it said.
        """

        def found() -> re.Match[str] | None:
            return re.search(pattern, "".join(self.lines))

        deadline = time.monotonic() + START_LIMIT_S
        with self._news:
            while not (match := found()):
                left = deadline - time.monotonic()
                if left < 0 or self._process.poll() is not None:
                    raise SystemExit(f"{self.name} did not start:\n{''.join(self.lines)}")
                self._news.wait(min(left, 1))
        return match[1]

    def wait(self) -> None:
        """Wait until it ends by itself."""
        self._process.wait()

    def stop(self) -> None:
        """Ask it to end, and insist after a while.

        Raises:
            SystemExit: it had to be killed; shows what it said.
        """
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise SystemExit(f"{self.name} did not stop:\n{''.join(self.lines)}") from None

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self.lines.append(line)
                self._news.notify()


@contextlib.contextmanager
def serving(name: str, command: Sequence[str], env: Mapping[str, str]) -> Iterator[Server]:
    """Run a server for the length of the block."""
    print(f"starting {name} ...", flush=True)
    server = Server(name, command, env)
    try:
        yield server
    finally:
        server.stop()


def message_of(session_id: str, text: str) -> dict[str, object]:
    """Return the body of a call."""
    message = {"name": "user", "content": text, "role": "user"}
    return {"session_id": session_id, "message": message}


def ask(client: httpx.Client, session_id: str, question: str) -> None:
    """Send one message and print the answer's pieces as they arrive.

    Raises:
        SystemExit: the answer is an error, or empty.
    """
    print(f"\n> {question}")
    said = ""
    with client.stream("POST", "/agent/invoke", json=message_of(session_id, question)) as answer:
        if answer.status_code != httpx.codes.OK:
            raise SystemExit(f"{answer.status_code}: {answer.read().decode()}")
        for line in answer.iter_lines():
            if not line.startswith("data: "):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise SystemExit(f"the agent failed: {event['error']}")
            piece = event["content"] if isinstance(event["content"], str) else str(event["content"])
            print(piece, end="", flush=True)
            said += piece
    print()
    if not said.strip():
        raise SystemExit("the agent said nothing")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="go on serving until interrupted")
    keep = parser.parse_args().keep
    # The interpreter's own folder first: `command: python` in agentapp.yaml means this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(serving("the model", ["model_server.py"], {}))
        model_url = model.address(r"Listening on (http://\S+?)/?\s").removesuffix("/")
        command = ["-m", "uvicorn", "host:app", "--port", "8000" if keep else "0"]
        env = {"LLM_BASE_URL": f"{model_url}/v1", "PATH": path}
        host = stack.enter_context(serving("the host", command, env))
        url = host.address(r"running on (http://[\w.]+:\d+)")
        client = stack.enter_context(httpx.Client(base_url=url, timeout=120))
        session_id = f"demo-{uuid.uuid4().hex[:8]}"
        for question in QUESTIONS:
            ask(client, session_id, question)
        health = client.get("/agent/health")
        print(f"\nGET /agent/health -> {health.status_code}")
        print(json.dumps(health.json(), indent=2))
        if health.json()["status"] != "healthy":
            raise SystemExit("the agent is not healthy")
        if keep:
            print(f"\nServing on {url} until you press CTRL+C. Talk to it:\n")
            body = {
                "session_id": "me",
                "message": {"name": "user", "content": "Hi", "role": "user"},
            }
            print(
                f"curl -N {url}/agent/invoke -H 'Content-Type: application/json'"
                f" -d '{json.dumps(body)}'",
                flush=True,
            )
            host.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        main()
