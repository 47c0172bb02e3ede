"""All runs of a runtime: who is let in, whose turn it is, and how they are made to end."""

from __future__ import annotations

import anyio
from anyio.abc import TaskGroup

from .._config import RuntimeConfig, SessionConfig
from .._generation import Generation
from ..exceptions import InternalError, SessionError
from ._activity import Activity
from ._admission import Admission
from ._invocation import Invocation
from ._run import CancelReason, Run
from ._turns import SessionTurns, Turn

# How long cancelled runs may take to unwind before their resources are closed under them.
UNWIND_TIMEOUT_S = 10.0


class RunPool:
    """Starts runs as tasks of the runtime's task group, whatever task asks for them.

    The limits are those of the configuration that the runtime was started with.
    """

    def __init__(self, tasks: TaskGroup, config: RuntimeConfig) -> None:
        self.activity: Activity = Activity(config.platform.heartbeat_interval)
        self._tasks = tasks
        self._admission = Admission(config.server.max_concurrency, config.server.max_queue)
        self._turns = SessionTurns()
        self._runs: set[Run] = set()

    def __len__(self) -> int:
        return len(self._runs)

    async def start(self, invocation: Invocation, generation: Generation) -> Run:
        """Start a run; it sees the caller's context variables.

        Raises:
            OverloadedError: `max_concurrency` and `max_queue` are used up.
            SessionBusyError: the session runs another call and is set to reject a second.
            InternalError: the session store, which knows, does not say.
        """
        run = Run(invocation, generation)
        place = self._admission.enter()
        generation.acquire()
        try:
            turn = await self._take_turn(run, generation.config.session)
        except BaseException:
            place.leave()
            generation.release()
            raise
        self._runs.add(run)
        self.activity.started(run.key)

        async def execute() -> None:
            try:
                await run.execute(turn, place)
            finally:
                self._runs.discard(run)
                self.activity.ended(run.key)
                generation.release()

        self._tasks.start_soon(execute, name=f"asgi_agentrt run {run.id}")
        return run

    async def _take_turn(self, run: Run, config: SessionConfig) -> Turn | None:
        """Join the line of the run's session; None where there is no line to join."""
        if config.concurrency == "parallel":
            return None
        turn = self._turns.add(run.key, run, run.generation.sessions.lines, config)
        if config.concurrency == "reject":
            try:
                await turn.enter_if_free()
            except BaseException as error:
                await turn.leave()
                if isinstance(error, SessionError):
                    raise InternalError("the session store is not available") from error
                raise
        return turn

    async def keep_turns(self) -> None:
        """Renew the runs' places in the lines of their sessions until cancelled."""
        await self._turns.keep()

    def cancel(self, reason: CancelReason, generation: Generation) -> None:
        """Ask all runs of a generation to end."""
        for run in tuple(self._runs):
            if run.generation is generation:
                run.cancel(reason)

    async def finish(self, generation: Generation, *, grace_s: float) -> None:
        """Let the runs of a generation end by themselves for `grace_s`, then cancel them.

        Returns when they have ended, or have not after being given time to unwind.
        """
        with anyio.move_on_after(grace_s):
            await generation.wait_idle()
        self.cancel("shutdown", generation)
        with anyio.move_on_after(UNWIND_TIMEOUT_S, shield=True):
            await generation.wait_idle()
