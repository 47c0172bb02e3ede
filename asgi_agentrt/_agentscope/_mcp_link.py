"""One connection to an MCP server: a task of its own connects, holds and closes the client.

The clients of mcp 1.x live in cancel scopes of the task that connected them: another task cannot
close them, and when the transport dies, that task is cancelled. So it does nothing else, and each
connection gets a fresh one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeAlias, TypeVar

from ._mcp_faults import check_listening, has_no_tools, reason_of

T = TypeVar("T")
_ERROR_GRACE_S = 0.05


class McpClient(Protocol):
    """A generation's MCP client; used once, `connect` and `close` in the same task."""

    async def connect(self) -> None:
        """Connect; leaves nothing open when it fails."""
        ...

    async def close(self) -> None:
        """Close; does nothing when not connected."""
        ...

    async def list_tools(self) -> list[Any]:
        """Ask the server for its tools, as mcp's `Tool`."""
        ...

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a tool; returns AgentScope's result."""
        ...


Work: TypeAlias = Callable[[McpClient], Coroutine[Any, Any, T]]


class LinkLostError(Exception):
    """The connection went down during the call."""


class CallExpiredError(Exception):
    """The call took longer than it may."""


class Link:
    """A connection from its first attempt to its end; `on_change` is called when it gets on.

    Attributes:
        client: What calls go through.
        tools: What the server listed when it was asked last.
        error: Why it is not, or no longer, of use; None while it may be.
    """

    def __init__(self, client: McpClient, url: str | None, on_change: Callable[[], None]) -> None:
        self.client = client
        self.tools: tuple[Any, ...] = ()
        self.error: BaseException | None = None
        self._url = url
        self._on_change = on_change
        self._opened = False
        self._stop = asyncio.Event()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._busy = 0
        self._asking: set[asyncio.Task[Any]] = set()  # asyncio itself keeps no reference
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._opened and self.error is None and not self._stop.is_set()

    @property
    def is_over(self) -> bool:
        """Whether the attempt has failed or the connection is gone."""
        return self.error is not None or self._task is None or self._task.done()

    @property
    def is_busy(self) -> bool:
        """Whether calls are under way."""
        return self._busy > 0

    @property
    def reason(self) -> str:
        """Why it is not of use, without secrets."""
        return "connection closed" if self.error is None else reason_of(self.error)

    def start(self, name: str) -> None:
        """Begin to connect, in a context that holds nothing of the caller's."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=name, context=Context())
        self._task.add_done_callback(lambda _: self._on_change())

    def lose(self, error: BaseException) -> None:
        """Declare the connection dead; what waits for `on_change` then releases it."""
        if self.error is None:
            self.error = error
        self._on_change()

    async def list_tools(self) -> tuple[Any, ...]:
        """Ask for the tools; a server that knows no such question has none."""
        try:
            return tuple(await self.client.list_tools())
        except Exception as error:
            if has_no_tools(error):
                return ()
            raise

    async def call(self, work: Work[T], seconds: float) -> T:
        """Do what `ask` does, and count as busy meanwhile."""
        self._busy += 1
        self._on_change()
        try:
            return await self.ask(work, seconds)
        finally:
            self._busy -= 1

    async def ask(self, work: Work[T], seconds: float) -> T:
        """Run `work` on the client, until it ends, `seconds` have passed or the link is lost.

        In a task of its own: mcp 2.x shields its farewell to a server that does not answer, and
        nobody should wait for that.

        Raises:
            LinkLostError: the connection went down meanwhile.
            CallExpiredError: it took too long.
        """
        task = asyncio.get_running_loop().create_task(work(self.client))
        self._asking.add(task)
        task.add_done_callback(self._forget)
        try:
            awaited: set[asyncio.Future[Any]] = {task, self._gone}
            await asyncio.wait(awaited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
        if task.done() and not task.cancelled():
            return task.result()
        if self.is_open and not task.done():
            raise CallExpiredError
        raise LinkLostError

    async def release(self, seconds: float) -> bool:
        """Close the connection and end its calls; waits about `seconds` at most.

        Returns:
            Whether it is closed.
        """
        if self._task is None:
            return True
        if self.error is not None and self._busy:
            # Their own errors are on the way to most of them, and tell more than we can.
            await asyncio.sleep(_ERROR_GRACE_S)
        self._stop.set()
        if not self._gone.done():
            self._gone.set_result(None)
        if not self._opened:
            self._task.cancel()  # it may wait for an answer that never comes
        await asyncio.wait({self._task}, timeout=seconds)
        for _ in range(10):
            if self._task.done():
                break
            # More than once: the libraries below swallow cancellations.
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.2)
        return self._task.done()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits for it any more

    async def _run(self) -> None:
        try:
            if self._url is not None:
                await check_listening(self._url)
            await self.client.connect()
            self.tools = await self.list_tools()
        except (Exception, asyncio.CancelledError, BaseExceptionGroup) as error:  # noqa: BLE001  any failure is a reason, and mcp 1.x tells of most by cancelling us
            self.error = self.error or error
        else:
            self._opened = True
            self._on_change()
            # Cancelled: the transport died, or the event loop is going down.
            with contextlib.suppress(asyncio.CancelledError):
                await self._stop.wait()
            if not self._stop.is_set():
                self.lose(asyncio.CancelledError())
        await self._close()

    async def _close(self) -> None:
        try:
            await self.client.close()
        except (Exception, asyncio.CancelledError, BaseExceptionGroup) as error:  # noqa: BLE001  what comes out of closing is what had broken the transport
            if isinstance(self.error, asyncio.CancelledError):
                self.error = error
