"""One call of a session at a time, in the order in which the calls came.

The line is kept by the session store, so that it holds for all processes that share the store; a
place in it is a lease, which is renewed for as long as the run lasts. What is kept here makes that
quick and orderly: calls of this process enter one after the other, and the next one hears at once
that the one before has left.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from functools import partial
from typing import Literal, Protocol

import anyio

from .._config import SessionConfig
from .._session import SessionKey, SessionLines, Standing
from ..exceptions import SessionBusyError, SessionError

logger = logging.getLogger(__name__)

# Renewing leases at a third of their length leaves room for a slow store and for an event loop
# that is blocked for seconds.
RENEWALS_A_LEASE = 3
# How often those who wait look whether another process has left; they hear of their own at once.
POLL_S = 0.1
# How often leases are looked through; runs that other processes may interrupt ask as often.
KEEP_PERIOD_S = 0.3
LEAVE_TIMEOUT_S = 5.0
_RENEWED_AT_ONCE = 20
# A crowd that waits for one session would keep the store from all others, and gains nothing by
# asking at once what is answered one by one; several, so that one slow answer holds up none.
_CROWD_AT_ONCE = 2


class Holder(Protocol):
    """What stands in the line: a run."""

    @property
    def id(self) -> str:
        """Its run id, which is its ticket."""
        ...

    def cancel(self, reason: Literal["interrupted", "session_lost"]) -> None:
        """Ask it to end."""
        ...


class Turn:
    """A run's place in the line of its session, from `SessionTurns.add` to `leave`.

    Attributes:
        renewal_at: When it is to be renewed, by the clock of the event loop.
    """

    def __init__(
        self,
        turns: SessionTurns,
        key: SessionKey,
        run: Holder,
        lines: SessionLines,
        config: SessionConfig,
    ) -> None:
        self.run = run
        self.key = key
        self.renewal_at = 0.0
        self.has_entered = anyio.Event()
        self.is_in_line = False
        self.has_come = False
        self._turns = turns
        self._lines = lines
        self._lease_s = config.lease
        self._interrupts = config.concurrency == "interrupt"
        self._ahead: Turn | None = None
        self._news = anyio.Event()
        # Leaving while a renewal is under way could end with the ticket in the line again.
        self._lock = anyio.Lock()
        # Shared by the turns of one session.
        self._crowd = anyio.Semaphore(_CROWD_AT_ONCE)

    def follow(self, ahead: Turn | None) -> None:
        """Enter only after this one of the same process."""
        self._ahead = ahead
        if ahead is not None:
            self._crowd = ahead._crowd  # noqa: SLF001  another of the same class

    def look(self) -> None:
        """See again where this one stands: somebody has left."""
        self._news.set()

    async def wait(self) -> None:
        """Join the line and wait until it is this one's turn, unless it is already.

        Raises:
            SessionError: the line cannot be read or written.
        """
        if self.has_come:
            return
        if self._ahead is not None:
            await self._ahead.has_entered.wait()
            self._ahead = None
        standing = await self._enter(interrupt=self._interrupts)
        while standing.position != 0:
            # Behind another one of this process there is nothing to see before that has left,
            # unless others may interrupt.
            may_sleep = not self._interrupts and not self._turns.is_first(self)
            with anyio.move_on_after(self._lease_s / RENEWALS_A_LEASE if may_sleep else POLL_S):
                await self._news.wait()
            self._news = anyio.Event()
            async with self._among_the_crowd():
                standing = await self.renew()
            if standing.is_interrupted:
                self.run.cancel("interrupted")
        self.has_come = True

    async def enter_if_free(self) -> None:
        """Join the line if nobody is in it.

        Raises:
            SessionBusyError: somebody is.
            SessionError: the line cannot be read or written.
        """
        standing = await self._enter(only_if_free=True)
        if standing.position is None:
            self.is_in_line = False
            raise SessionBusyError(standing.head or "")
        self.has_come = True

    async def renew(self) -> Standing:
        """Stay in the line; a place that was lost with the store is taken anew if nobody has it.

        Raises:
            SessionError: the line cannot be read or written.
        """
        async with self._lock:
            standing = await self._lines.renew(self.key, self.run.id, lease_s=self._lease_s)
            if standing.position is None and self.is_in_line:
                standing = await self._enter()
            self._put_off()
        return standing

    async def leave(self) -> None:
        """Let the next one go ahead; doing it twice is fine. Never raises; bounded in time."""
        self.has_entered.set()
        try:
            with anyio.move_on_after(LEAVE_TIMEOUT_S, shield=True), suppress(SessionError):
                async with self._lock:
                    if self.is_in_line:
                        self.is_in_line = False
                        # What fails here is mended by the lease running out.
                        await self._lines.leave(self.key, self.run.id)
        finally:
            self._turns.forget(self)

    def _among_the_crowd(self) -> AbstractAsyncContextManager[object]:
        """Hold what lets a few at a time ask the store; the first of this process need not wait."""
        return nullcontext() if self._turns.is_first(self) else self._crowd

    async def _enter(self, *, interrupt: bool = False, only_if_free: bool = False) -> Standing:
        self.is_in_line = True  # before: a call that is cut off may have happened
        try:
            standing = await self._lines.enter(
                self.key,
                self.run.id,
                lease_s=self._lease_s,
                interrupt=interrupt,
                only_if_free=only_if_free,
            )
            self._put_off()
            return standing
        finally:
            self.has_entered.set()

    def _put_off(self) -> None:
        period_s = 0.0 if self._interrupts else self._lease_s / RENEWALS_A_LEASE
        self.renewal_at = anyio.current_time() + period_s


class SessionTurns:
    """The turns of all runs of a runtime; a session without a run takes no memory."""

    def __init__(self) -> None:
        self._here: dict[SessionKey, deque[Turn]] = {}

    def __len__(self) -> int:
        return len(self._here)

    def add(self, key: SessionKey, run: Holder, lines: SessionLines, config: SessionConfig) -> Turn:
        """Make a place behind those of this process; it is not in the store's line yet.

        Raises:
            SessionBusyError: `concurrency` is `reject`, and this process runs a call.
        """
        turn = Turn(self, key, run, lines, config)
        here = self._here.get(key)
        if here is None:
            here = self._here[key] = deque()
        elif config.concurrency == "reject":
            raise SessionBusyError(here[0].run.id)
        if config.concurrency == "interrupt":
            for earlier in here:
                earlier.run.cancel("interrupted")
        turn.follow(here[-1] if here else None)
        here.append(turn)
        return turn

    def is_first(self, turn: Turn) -> bool:
        """Whether nobody of this process is ahead."""
        here = self._here.get(turn.key)
        return here is not None and here[0] is turn

    def forget(self, turn: Turn) -> None:
        """Take a turn out, and let the others of this process look who is next."""
        here = self._here.get(turn.key)
        if here is None or turn not in here:
            return
        here.remove(turn)
        if here:
            here[0].look()
        else:
            del self._here[turn.key]

    async def keep(self) -> None:
        """Renew all leases in time until cancelled; runs that lost theirs are cancelled."""
        limiter = anyio.Semaphore(_RENEWED_AT_ONCE)
        while True:
            await anyio.sleep(KEEP_PERIOD_S)
            now = anyio.current_time()
            async with anyio.create_task_group() as tasks:
                for turn in [turn for here in self._here.values() for turn in here]:
                    if turn.has_come and turn.renewal_at <= now:
                        tasks.start_soon(partial(self._keep_one, turn, limiter))

    async def _keep_one(self, turn: Turn, limiter: anyio.Semaphore) -> None:
        async with limiter:
            if not turn.is_in_line:
                return
            try:
                standing = await turn.renew()
            except SessionError as error:
                # The store is down for everybody: nobody else can have taken the turn.
                logger.debug("run %s: its turn was not renewed: %s", turn.run.id, error)
                return
            except Exception:
                # A store of somebody else's: its faults must not end the runtime.
                logger.exception("run %s: its turn was not renewed", turn.run.id)
                return
        if standing.is_interrupted:
            turn.run.cancel("interrupted")
        elif standing.position != 0 and turn.is_in_line:
            logger.warning("run %s lost its session to run %s", turn.run.id, standing.head)
            turn.run.cancel("session_lost")
