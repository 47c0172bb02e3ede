"""Hear of a stop signal before the server acts on it.

Servers wait for open streams before they tell an app to shut down, so an app that ends its streams
at shutdown is waited for in vain. A notice is chained in front of the handler that the server has
put in place, which is always called, later at most. A signal that nobody handles in Python is left
alone, and so is every signal outside the main thread.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType
from typing import Any

from .._concurrency import on_asyncio

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopNotice:
    """One runtime's wish to be told; lasts until `remove`.

    Args:
        notify: Called in the event loop when a stop signal comes.
        close: Given for a runtime that no lifespan will close. Under uvicorn and daphne, which
            end without unwinding the event loop, the signal is held back until this has returned.
    """

    def __init__(
        self, *, notify: Callable[[], None], close: Callable[[], Awaitable[None]] | None
    ) -> None:
        self.notify = notify
        self.close = close
        self.call_soon = _thread_safe_call()
        self._chains: list[_Chain] = []
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if (chain := _chain_for(number)) is not None:
                    chain.notices.append(self)
                    self._chains.append(chain)

    def remove(self) -> None:
        """Be told no more; the last one puts the handler back that was there before."""
        for chain in self._chains:
            chain.notices.remove(self)
            chain.uninstall_if_unused()
        self._chains.clear()


def _thread_safe_call() -> Callable[[Callable[[], None]], object]:
    if on_asyncio():
        return asyncio.get_running_loop().call_soon_threadsafe
    call: Callable[[Callable[[], None]], object]
    call = sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
    return call


class _Chain:
    """Our handler of one signal, in front of the one that was there before."""

    def __init__(self, number: signal.Signals, previous: Callable[[int, FrameType | None], Any]):
        self.notices: list[StopNotice] = []
        self._number = number
        self.previous = previous
        self._is_held_back = False
        signal.signal(number, self.handle)

    @property
    def is_installed(self) -> bool:
        return signal.getsignal(self._number) == self.handle

    def uninstall_if_unused(self) -> None:
        if not self.notices and self.is_installed:
            signal.signal(self._number, self.previous)
            _chains.pop(self._number, None)

    def handle(self, number: int, frame: FrameType | None) -> None:
        closing = [
            notice
            for notice in self.notices
            if notice.close is not None and _leaves_no_time(self.previous)
        ]
        for notice in self.notices:
            self._tell(notice, notice.notify)
        if self._is_held_back and number == signal.SIGTERM:
            return  # once is enough; a second Ctrl-C is a wish not to wait
        if self._is_held_back or not closing:
            self.previous(number, frame)
            return
        self._is_held_back = True
        waiting = len(closing)

        def one_is_closed() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                self._is_held_back = False
                self.previous(number, None)

        for notice in closing:
            if not self._tell(notice, partial(_close, notice, one_is_closed)):
                one_is_closed()

    def _tell(self, notice: StopNotice, what: Callable[[], None]) -> bool:
        try:
            notice.call_soon(what)
        except RuntimeError:  # its event loop is closed: there is nothing left to tell
            return False
        return True


_chains: dict[signal.Signals, _Chain] = {}


def _chain_for(number: signal.Signals) -> _Chain | None:
    """Return our handler, putting it in place if need be; None where Python handles nothing."""
    chain = _chains.get(number)
    if chain is not None and chain.is_installed:
        return chain
    previous = signal.getsignal(number)
    if not callable(previous):  # SIG_DFL, SIG_IGN, or a handler that is not Python's
        return None
    if isinstance(getattr(getattr(previous, "func", None), "__self__", None), asyncio.Runner):
        # `asyncio.run` puts the default back only if it finds its own handler at its end.
        return None
    _chains[number] = chain = _Chain(number, previous)
    return chain


def _leaves_no_time(handler: Callable[..., Any]) -> bool:
    """Whether a handler is of a server that neither says that it stops nor unwinds its event loop.

    After uvicorn's no code of ours would run, if it has no lifespan to end. Daphne, whose handler
    is Twisted's, drops every request at once.
    """
    owner = getattr(handler, "__self__", None)
    if isinstance(owner, _Chain):
        return _leaves_no_time(owner.previous)
    packages = {made.__module__.partition(".")[0] for made in type(owner).__mro__}
    return not packages.isdisjoint(("twisted", "uvicorn"))


_closing: set[asyncio.Task[None]] = set()


def _close(notice: StopNotice, then: Callable[[], None]) -> None:
    """Close in a task of the running loop, which is asyncio's: these servers know no other."""
    if notice.close is None:
        then()
        return

    async def close(close: Callable[[], Awaitable[None]]) -> None:
        try:
            await close()
        finally:
            then()

    task = asyncio.get_running_loop().create_task(close(notice.close))
    _closing.add(task)
    task.add_done_callback(_closing.discard)
