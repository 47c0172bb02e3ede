"""One project in a process of its own, from the socket to the exit code."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .._agentscope import quiet_logging
from .._config import RuntimeConfig
from .._server import AgentRuntimeASGI
from .._types import ASGIApp, Message, Receive, Scope, Send
from ..exceptions import LifecycleError
from ._errors import CommandError
from ._watch import reload_on_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What `agentrt run` was asked for.

    Attributes:
        project: The project's folder, absolute.
        config_file: Relative to it; read again at each reload.
        config: What it says now.
        host: The address to listen on.
        port: 0 takes a free one.
        platform: Whether to report to the configured platform.
        reload: Whether changed files of the project are switched to.
    """

    project: Path
    config_file: str
    config: RuntimeConfig
    host: str
    port: int
    platform: bool
    reload: bool


class _RootAgent(AgentRuntimeASGI):
    """Remembers why it did not start: a server only logs that."""

    failure: str | None = None

    async def serve_lifespan(
        self, scope: Scope, receive: Receive, send: Send, *, host: ASGIApp | None = None
    ) -> None:
        is_starting = True

        async def remember(message: Message) -> None:
            nonlocal is_starting
            is_starting = False
            if message["type"] == "lifespan.startup.failed":
                self.failure = message["message"]
            await send(message)

        try:
            await super().serve_lifespan(scope, receive, remember, host=host)
        except asyncio.CancelledError:
            if is_starting:
                self.failure = "it was stopped"
            raise


class _Course:
    """What happens besides serving: at the start, at the end, and when a signal comes."""

    def __init__(self, serving: Serving, agent: AgentRuntimeASGI, url: str) -> None:
        self._serving = serving
        self._agent = agent
        self._url = url
        self._watching: asyncio.Task[None] | None = None

    def started(self) -> None:
        """Say so; the server listens."""
        if "agentscope" in sys.modules:
            quiet_logging()
        if self._serving.reload:
            sessions = self._serving.project / self._serving.config.session.save_dir
            self._watching = asyncio.create_task(
                reload_on_change(self._agent, self._serving.project, sessions)
            )
        with suppress(BrokenPipeError):
            print(f"serving {self._url}", flush=True)

    async def stopping(self) -> None:
        """End the open streams: the server waits for them before it tells the app."""
        if self._watching is not None:
            self._watching.cancel()
        # It may never have come up, with `startup_failure: degrade`.
        with suppress(LifecycleError):
            self._agent.runtime.drain()


def serve(serving: Serving) -> int:
    """Serve until a stop signal or a restart; returns the exit code.

    Raises:
        CommandError: the address cannot be used, or the project did not start.
    """
    from ._uvicorn import Server  # noqa: PLC0415 (it imports uvicorn)

    agent = _RootAgent(
        serving.project,
        config=serving.config_file,
        platform=serving.platform,
        # A supervisor's signal and the platform's wish take the same way out.
        on_restart=lambda: signal.raise_signal(signal.SIGTERM),
    )
    # The failure is our last word; the server need not log it as well.
    logging.getLogger("uvicorn.error").addFilter(lambda _: agent.failure is None)
    with _bound_socket(serving.host, serving.port) as listener:
        course = _Course(serving, agent, _url(listener))
        server = Server(agent, course, drain_timeout_s=serving.config.server.drain_timeout)
        try:
            server.run(sockets=[listener])
        except asyncio.CancelledError:
            return 0  # a signal during the start
        except SystemExit:  # how newer versions of uvicorn take a failed start
            if agent.failure is None:
                raise
    if agent.failure is not None:
        raise CommandError(agent.failure)
    return 0 if server.started else 1


@contextmanager
def _bound_socket(host: str, port: int) -> Generator[socket.socket]:
    """Hold a socket that has its address; it does not listen before the project has started.

    Raises:
        CommandError: the address cannot be used; also when only listening finds that out.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as listener:
            if os.name == "posix":  # elsewhere it would let two servers share the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            yield listener
    except (socket.gaierror, UnicodeError):
        raise CommandError(f"cannot listen on {host}: no such host") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} of {host} is in use; --port takes another, 0 a free one"
        else:
            reason = f"cannot listen on port {port} of {host}: {error.strerror}"
        raise CommandError(reason) from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
