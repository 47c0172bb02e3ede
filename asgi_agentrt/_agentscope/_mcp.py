"""The supervisor of one MCP server: connects, notices its death, connects again, closes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from ._mcp_faults import McpCallError, check_listening, is_answer, is_connection_loss, was_never_sent
from ._mcp_link import CallExpiredError, Link, LinkLostError, McpClient

if TYPE_CHECKING:
    from .._config import McpServerConfig

logger = logging.getLogger(__name__)

ServerState: TypeAlias = Literal["connecting", "up", "down", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How patient the supervisor is, in seconds.

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


class McpServer:
    """An MCP server of the config file, whatever its state; its own task owns the connection.

    Everything runs on one asyncio event loop. Nothing here raises but tool calls.

    Attributes:
        name: Its key in `mcp_servers`.
        config: Its entry there.
        required: Whether the app must not start without it.
        state: `connecting` until the first attempt is over, then `up` or `down`; `closed` for good.
        reason: Why it is down, without secrets; None otherwise.
    """

    def __init__(
        self,
        name: str,
        config: McpServerConfig,
        new_client: Callable[[], McpClient],
        *,
        timing: Timing = DEFAULT_TIMING,
    ) -> None:
        self.name = name
        self.config = config
        self.required = config.required
        self.state: ServerState = "connecting"
        self.reason: str | None = None
        self._new_client = new_client
        self._timing = timing
        self._raw_tools: tuple[Any, ...] = ()
        self._listeners: list[Callable[[], None]] = []
        self._link: Link | None = None
        self._attempts = 0
        self._failures = 0
        self._pausing_since: float | None = None
        self._is_closing = False
        self._is_hinted = False
        self._is_suspect = False
        self._signal = asyncio.Event()
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of its tools on the server, as listed last; kept while it is down."""
        return tuple(tool.name for tool in self._raw_tools)

    @property
    def raw_tools(self) -> tuple[Any, ...]:
        """The same as mcp's `Tool` objects."""
        return self._raw_tools

    def subscribe(self, on_tools: Callable[[], None]) -> None:
        """Have `on_tools` called whenever the list of tools has changed."""
        self._listeners.append(on_tools)

    def start(self) -> None:
        """Begin to connect, in a task of the running event loop that outlives the caller's."""
        if self._task is None and not self._is_closing:
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(
                self._supervise(), name=f"mcp server {self.name}", context=Context()
            )

    async def settled(self) -> None:
        """Wait until the first attempt to connect has succeeded or failed."""
        await self._settled.wait()

    async def changed(self) -> None:
        """Wait until the state or the tools change, or one more attempt is over."""
        await self._changed.wait()

    async def aclose(self) -> None:
        """Close the connection; calls under way end with an error. Any task, any number of times."""
        self._is_closing = True
        if self._task is None:
            self._enter("closed", None)
            self._settled.set()
            return
        self._signal.set()
        await asyncio.wait({self._task}, timeout=2 * self._timing.close + 3)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1)

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool, by its name on the server; AgentScope's result.

        A server that is down is given one more chance at once. A call that the server cannot have
        seen, because it was started anew meanwhile, is made once more.

        Raises:
            McpCallError: the server is down, went down, or took more than `call_timeout` seconds.
        """
        with contextlib.suppress(_NeverSentError):
            return await self._call_once(name, arguments)
        try:
            return await self._call_once(name, arguments)
        except _NeverSentError:
            raise self._unavailable() from None

    # Calls, in the callers' tasks

    async def _call_once(self, name: str, arguments: dict[str, Any]) -> Any:
        if (link := self._open_link()) is None:
            await self._revive()
            if (link := self._open_link()) is None:
                raise self._unavailable()
        try:
            return await link.call(
                lambda client: client.call_tool(name, arguments), self.config.call_timeout
            )
        except LinkLostError:
            raise self._went_down(link) from None
        except CallExpiredError:
            self._suspect()
            raise McpCallError(
                f"the tool did not answer within {self.config.call_timeout:g} seconds"
            ) from None
        except McpCallError:
            raise
        except Exception as error:
            if was_never_sent(error):
                link.lose(error)
                raise _NeverSentError from error
            if is_connection_loss(error):
                link.lose(error)
                raise self._went_down(link) from error
            self._suspect()
            raise

    def _open_link(self) -> Link | None:
        return self._link if self._link is not None and self._link.is_open else None

    async def _revive(self) -> None:
        """Have the server tried again now, and wait for the outcome; not right after a failure."""
        if self._task is None or self._is_closing:
            return
        if self._pausing_since is not None:
            if asyncio.get_running_loop().time() - self._pausing_since < self._timing.backoff:
                return
            self._is_hinted = True
            self._signal.set()
        attempts = self._attempts
        with anyio.move_on_after(self._timing.revive):
            while self._open_link() is None and self._attempts == attempts:
                if self._is_closing:
                    return
                await self.changed()

    def _suspect(self) -> None:
        self._is_suspect = True
        self._signal.set()

    def _unavailable(self) -> McpCallError:
        if self._is_closing:
            return McpCallError(f"the MCP server {self.name} has been closed")
        why = f" ({self.reason})" if self.reason else ""
        return McpCallError(f"the MCP server {self.name} is down{why}; it may be back later")

    def _went_down(self, link: Link) -> McpCallError:
        if self._is_closing:
            return McpCallError(f"the MCP server {self.name} was closed during the call")
        return McpCallError(f"the MCP server {self.name} went down during the call ({link.reason})")

    # The owner task

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self._is_closing:
                link = Link(self._new_client(), self.config.url, self._signal.set)
                try:
                    self._failures += 1
                    if await self._connect(link):
                        since = loop.time()
                        await self._watch(link)
                        if loop.time() - since > self._timing.backoff_limit:
                            self._failures = 0  # it was worth something: try again at once
                except asyncio.CancelledError:
                    self._is_closing = True  # the event loop is going down
                    raise
                finally:
                    self._link = None
                    await self._let_go(link)
                await self._pause()
        finally:
            self._is_closing = True
            self._enter("closed", None)
            self._settled.set()

    async def _connect(self, link: Link) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.config.timeout
        link.start(f"mcp connection {self.name}")
        while not (link.is_open or link.is_over or self._is_closing):
            if (left := deadline - loop.time()) <= 0:
                link.lose(TimeoutError())
                break
            await self._signalled(left)
        if not link.is_open:
            return False
        self._link = link
        self._attempts += 1
        self._learn(link.tools)
        self._enter("up", None)
        logger.info("MCP server %s is up with %d tools", self.name, len(link.tools))
        self._settled.set()
        return True

    async def _watch(self, link: Link) -> None:
        """Return when the connection is dead or no longer wanted."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._timing.probe
        probe: asyncio.Task[None] | None = None
        try:
            while link.is_open and not self._is_closing:
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
            async with asyncio.timeout(self.config.timeout):
                if self.config.url is not None:
                    await check_listening(self.config.url)
                self._learn(await link.list_tools())
        except TimeoutError as error:
            if not (was_busy or link.is_busy):
                link.lose(error)
        except Exception as error:  # noqa: BLE001  whatever it is, the server did not answer
            if not is_answer(error):
                link.lose(error)

    async def _let_go(self, link: Link) -> None:
        if not self._is_closing:
            was = self.state
            self._enter("down", link.reason)
            released = await link.release(self._timing.close)
            self.reason = link.reason  # closing may have told the cause
            if was != "down":
                logger.warning("MCP server %s is down: %s", self.name, link.reason)
            self._attempts += 1
            self._notify()
            self._settled.set()
        else:
            released = await link.release(self._timing.close)
        if not released:
            logger.warning("A connection to MCP server %s could not be closed", self.name)

    async def _pause(self) -> None:
        """Wait before the next attempt; a tool call that needs the server cuts it short."""
        if self._is_closing:
            return
        loop = asyncio.get_running_loop()
        self._pausing_since = loop.time()
        doublings = min(self._failures - 1, 16)
        delay = min(self._timing.backoff * 2.0**doublings, self._timing.backoff_limit)
        if self._failures == 0:
            delay = 0.0
        until = loop.time() + delay * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret
        self._is_hinted = False
        while not (self._is_closing or self._is_hinted) and loop.time() < until:
            await self._signalled(until - loop.time())
        self._pausing_since = None

    async def _signalled(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signal.wait()
        self._signal.clear()

    def _learn(self, tools: tuple[Any, ...]) -> None:
        if tools == self._raw_tools:
            return
        self._raw_tools = tools
        for on_tools in self._listeners:
            on_tools()
        self._notify()

    def _enter(self, state: ServerState, reason: str | None) -> None:
        self.reason = reason
        if state != self.state:
            self.state = state
            self._notify()

    def _notify(self) -> None:
        event, self._changed = self._changed, asyncio.Event()
        event.set()


class _NeverSentError(Exception):
    """The server cannot have seen the call."""
