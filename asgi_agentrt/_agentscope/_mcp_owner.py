"""The task that owns an MCP server's connection: makes it, watches it, makes it anew, closes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import anyio

from ._mcp_faults import check_listening, is_answer
from ._mcp_link import CallExpiredError, Link, LinkLostError, McpClient

logger = logging.getLogger(__name__)

ServerState: TypeAlias = Literal["connecting", "up", "down", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How patient the owner of a connection is, in seconds.

    Attributes:
        probe: Between two questions whether an idle server still lives.
        busy_probe: The same while calls are under way.
        backoff: Before the second attempt to reach a server; doubles with each one after it.
        backoff_limit: The longest pause between two attempts.
        close: What closing a connection may take before it is cancelled.
        revive: How long a tool call to a server that is down waits for one more attempt.
    """

    probe: float = 15.0
    busy_probe: float = 2.0
    backoff: float = 0.5
    backoff_limit: float = 30.0
    close: float = 5.0
    revive: float = 5.0


DEFAULT_TIMING = Timing()


class Owner:
    """Holds the connection to one server in a task of its own, from `start` to `aclose`.

    Args:
        name: The server's, for the log and the names of tasks.
        url: Where it listens; None over stdio.
        timeout: Seconds that connecting, or an answer to a probe, may take.
        new_client: Makes a client for one connection.
        on_tools: Called with the tools each time they have been listed.
    """

    def __init__(  # noqa: PLR0913  everything it is told about a server
        self,
        name: str,
        *,
        url: str | None,
        timeout: float,
        new_client: Callable[[], McpClient],
        on_tools: Callable[[tuple[Any, ...]], None],
        timing: Timing,
    ) -> None:
        self.state: ServerState = "connecting"
        self.reason: str | None = None
        self.settled = asyncio.Event()
        self.is_closing = False
        self._name = name
        self._url = url
        self._timeout = timeout
        self._new_client = new_client
        self._on_tools = on_tools
        self._timing = timing
        self._link: Link | None = None
        self._attempts = 0
        self._failures = 0
        self._failed_at = float("-inf")
        self._is_hinted = False
        self._is_suspect = False
        self._signal = asyncio.Event()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def link(self) -> Link | None:
        """The connection, when calls can be made."""
        return self._link if self._link is not None and self._link.is_open else None

    def start(self) -> None:
        """Begin, in a task that sees none of the caller's context variables."""
        if self._task is None and not self.is_closing:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(
                self._run(), name=f"mcp server {self._name}", context=Context()
            )

    async def aclose(self) -> None:
        """Close the connection and end the task; waits a bounded time, in any task."""
        self.is_closing = True
        if self._task is None:
            self._finish()
            return
        self._signal.set()
        await asyncio.wait({self._task}, timeout=2 * self._timing.close + 3)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1)

    async def changed(self) -> None:
        """Wait until the state or the tools change, or one more attempt is over."""
        await self._changed.wait()

    def suspect(self) -> None:
        """Have the server asked at once whether it still lives."""
        self._is_suspect = True
        self._signal.set()

    async def revive(self) -> None:
        """Have the server tried now, unless that has just failed, and wait for the outcome."""
        now = asyncio.get_running_loop().time()
        if self._task is None or self.is_closing or now - self._failed_at < self._timing.backoff:
            return
        self._is_hinted = True
        self._signal.set()
        attempts = self._attempts
        with anyio.move_on_after(self._timing.revive):
            while self.link is None and self._attempts == attempts and not self.is_closing:
                await self.changed()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self.is_closing:
                link = Link(self._new_client(), self._url, self._signal.set)
                self._failures += 1
                try:
                    if await self._connect(link):
                        since = loop.time()
                        await self._watch(link)
                        if loop.time() - since > self._timing.backoff_limit:
                            self._failures = 0  # it was worth something: try again at once
                except asyncio.CancelledError:
                    self.is_closing = True  # the event loop is going down
                    raise
                finally:
                    await self._let_go(link)
                await self._pause()
        finally:
            self._finish()

    async def _connect(self, link: Link) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        link.start(f"mcp connection {self._name}")
        while not (link.is_open or link.is_over or self.is_closing):
            if (left := deadline - loop.time()) <= 0:
                link.lose(TimeoutError())
                break
            await self._signalled(left)
        if not link.is_open:
            return False
        self._link = link
        self._is_suspect = False
        self._learn(link.tools)
        logger.info("MCP server %s is up with %d tools", self._name, len(link.tools))
        self._enter("up", None)
        self._count_attempt()
        return True

    async def _watch(self, link: Link) -> None:
        """Return when the connection is dead or no longer wanted."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._timing.probe
        probe: asyncio.Task[None] | None = None
        try:
            while link.is_open and not self.is_closing:
                if link.is_busy:
                    due = min(due, loop.time() + self._timing.busy_probe)
                if probe is not None and probe.done():
                    probe, due = None, loop.time() + self._timing.probe
                elif probe is None and (self._is_suspect or loop.time() >= due):
                    self._is_suspect = False
                    probe = loop.create_task(self._probe(link), context=Context())
                    probe.add_done_callback(lambda _: self._signal.set())
                await self._signalled(None if probe is not None else due - loop.time())
        finally:
            if probe is not None:
                probe.cancel()
                await asyncio.wait({probe}, timeout=1)

    async def _probe(self, link: Link) -> None:
        """Ask the server something cheap; no answer at all means that it is dead.

        While it works on a call, silence means nothing: many servers answer one at a time.
        """
        was_busy = link.is_busy
        try:
            if self._url is not None:
                async with asyncio.timeout(self._timeout):
                    await check_listening(self._url)
            self._learn(await link.ask(lambda _: link.list_tools(), self._timeout))
        except (TimeoutError, CallExpiredError):
            if not (was_busy or link.is_busy):
                link.lose(TimeoutError())
        except LinkLostError:
            pass
        except Exception as error:  # noqa: BLE001  whatever it is, the server did not answer
            if not is_answer(error):
                link.lose(error)

    async def _let_go(self, link: Link) -> None:
        was, was_open = self.state, self._link is link
        if not self.is_closing:
            self._enter("down", link.reason)
        released = await link.release(self._timing.close)
        self._link = None
        if not released:
            logger.warning("A connection to MCP server %s could not be closed", self._name)
        if self.is_closing:
            return
        self.reason = link.reason  # closing may have told the cause
        if was != "down":
            logger.warning("MCP server %s is down: %s", self._name, self.reason)
        if not was_open:
            self._failed_at = asyncio.get_running_loop().time()
            self._count_attempt()

    async def _pause(self) -> None:
        """Wait before the next attempt; a tool call that needs the server cuts it short."""
        loop = asyncio.get_running_loop()
        delay = 0.0
        if self._failures:
            delay = self._timing.backoff * 2.0 ** min(self._failures - 1, 16)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  no secret
        until = loop.time() + min(delay, self._timing.backoff_limit) * jitter
        while not (self.is_closing or self._is_hinted) and loop.time() < until:
            await self._signalled(until - loop.time())
        self._is_hinted = False

    async def _signalled(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signal.wait()
        self._signal.clear()

    def _learn(self, tools: tuple[Any, ...]) -> None:
        self._on_tools(tools)
        self._notify()

    def _count_attempt(self) -> None:
        self._attempts += 1
        self.settled.set()
        self._notify()

    def _enter(self, state: ServerState, reason: str | None) -> None:
        self.state, self.reason = state, reason
        self._notify()

    def _finish(self) -> None:
        self.is_closing = True
        self.settled.set()
        self._enter("closed", None)

    def _notify(self) -> None:
        event, self._changed = self._changed, asyncio.Event()
        event.set()
