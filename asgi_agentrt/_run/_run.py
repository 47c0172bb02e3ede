"""A run: one invocation of the app, from waiting for its turn to its last event."""

from __future__ import annotations

import inspect
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any, Literal, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from .._app_base import SessionContext, current_context
from .._concurrency import absorb_native_cancellation
from .._generation import Generation
from .._message import done_message, encode_json
from .._session import SessionHold, SessionKey
from ..exceptions import (
    AppError,
    InternalError,
    InvalidRequestError,
    InvocationError,
    MessageError,
    RunCancelledError,
    SessionError,
)
from ._admission import Place
from ._invocation import Invocation
from ._log import UNSENT_LIMIT_BYTES, RunLog
from ._turns import Turn

logger = logging.getLogger(__name__)

CancelReason: TypeAlias = Literal["disconnected", "interrupted", "session_lost", "shutdown"]

# What the clean-up of an app that was left half-way, and the saving of its session, may take.
CLEAN_UP_TIMEOUT_S = 5.0
SAVE_TIMEOUT_S = 10.0


class Run:
    """One invocation. It writes its events into `log`, whoever listens.

    It ends with exactly one `done` event, which an `error` event precedes if it failed.

    Attributes:
        id: Unique; the answer's `X-Run-Id`.
        error: Why it failed; None while it runs, and when it succeeded.
    """

    def __init__(self, invocation: Invocation, generation: Generation) -> None:
        self.id = secrets.token_hex(12)
        self.key = SessionKey(invocation.user_id, invocation.session_id)
        self.log = RunLog()
        self.error: InvocationError | None = None
        self.generation = generation
        self._invocation = invocation
        self._scope = anyio.CancelScope()
        # Also when only its session is still to be saved and freed: what was answered in full is
        # not called cancelled because somebody interrupts or leaves while that takes its time.
        self._has_ended = False
        self._context = SessionContext(
            session_id=invocation.session_id,
            run_id=self.id,
            user_id=invocation.user_id,
            metadata=invocation.metadata,
            confirm=invocation.confirm,
        )

    def cancel(self, reason: CancelReason) -> None:
        """Ask the run to end; the first reason counts, and a run that has ended stays as it is."""
        if self._context.cancel_reason is None and not self._has_ended:
            self._context.cancel_reason = reason
            self._scope.cancel()

    async def execute(self, turn: Turn | None, place: Place) -> None:
        """Run to the last event; raises nothing but KeyboardInterrupt.

        Args:
            turn: Its place in the line of its session; None to run beside others.
            place: Its place among the running invocations.
        """
        try:
            with self._scope:
                if turn is not None:
                    await self._wait_for(turn)
                await place.wait()
                ticket = None if turn is None else self.id
                with self.generation.sessions.hold(self.key, ticket) as hold:
                    await self._serve(hold)
        except InvocationError as error:
            self.error = error
        except Exception as error:
            logger.exception("run %s failed inside the runtime", self.id)
            self.error = InternalError("the runtime failed")
            self.error.__cause__ = error
        except anyio.get_cancelled_exc_class():
            # Not by our scope, or not only: the event loop goes down.
            absorb_native_cancellation()
            self.error = RunCancelledError(self._context.cancel_reason or "shutdown")
        finally:
            self._has_ended = True
            try:
                # The session is free before the last event says so: who calls again on seeing it
                # must not find the session busy.
                if turn is not None:
                    await turn.leave()
            except Exception:
                # A store of somebody else's: its faults end neither the others nor the answer.
                logger.exception("run %s: its session was not freed", self.id)
            finally:
                place.leave()
                self._finish()

    def _finish(self) -> None:
        if self._context.cancel_reason is not None:
            self.error = RunCancelledError(self._context.cancel_reason)
        if self.error is not None:
            body = {"error": {"code": self.error.code, "message": self.describe_error()}}
            self.log.append("error", body, encode_json(body))
        done = done_message(error=self.error is not None)
        self.log.append("done", done, encode_json(done))
        self.log.close()

    def describe_error(self) -> str:
        """Return what a client may read about the failure; the app's own words only in debug."""
        error = self.error
        if isinstance(error, AppError) and not isinstance(error, MessageError):
            cause = error.__cause__
            if self.generation.config.server.debug and cause is not None:
                return _text_of(cause)
            return f"the app failed; its log names run {self.id}"
        return _sendable(str(error))

    # ---- the app -----------------------------------------------------------------------------

    async def _wait_for(self, turn: Turn) -> None:
        try:
            await turn.wait()
        except SessionError as error:
            logger.error("run %s: %s", self.id, error)
            raise InternalError("the session store is not available") from error

    async def _serve(self, hold: SessionHold) -> None:
        try:
            self._context.state = await hold.load_state()
        except SessionError as error:
            logger.error("run %s: %s", self.id, error)
            raise InternalError("the session could not be loaded") from error
        self.generation.enter_run(self.key.session_id)
        current_context.set(self._context)
        try:
            await self._call_app()
        except InvocationError:
            await self._save(hold, is_failed=True)
            raise
        except BaseException:
            absorb_native_cancellation()
            await self._save(hold, is_failed=True)
            raise
        self._has_ended = True
        await self._save(hold, is_failed=False)

    async def _save(self, hold: SessionHold, *, is_failed: bool) -> None:
        if not self._context.save_state:
            return
        deadline = anyio.current_time() + SAVE_TIMEOUT_S
        is_cut_off = is_failed or self._context.cancel_reason is not None
        try:
            with anyio.CancelScope(shield=True, deadline=deadline) as scope:
                await hold.save_state(self._context.state, is_cut_off=is_cut_off)
            if scope.cancelled_caught:
                raise SessionError(f"saving took more than {SAVE_TIMEOUT_S:g} s")
        except SessionError as error:
            logger.error("run %s: the session was not saved: %s", self.id, error)
            if not is_failed:
                raise InternalError("the session could not be saved") from error

    async def _call_app(self) -> None:
        try:
            message = self.generation.message_in(self._invocation.message)
            items = await _as_items(self.generation.app.app(message, self._context))
            await self._forward(items)
        except MessageError as error:
            logger.error("run %s: %s", self.id, error)
            raise
        except InvalidRequestError:
            raise  # a block that AgentScope has not, an answer to no question: the caller's
        except Exception as error:
            logger.exception("run %s: the app failed", self.id)
            raise AppError("the app failed") from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or self._scope.cancel_called:
                raise
            # SystemExit in an app must not end the server, and some libraries cancel the task
            # that they are used in.
            logger.exception("run %s: the app was left by %s", self.id, type(error).__name__)
            absorb_native_cancellation()
            raise AppError("the app failed") from error

    async def _forward(self, items: AsyncIterator[Any]) -> None:
        """Write what the app yields into the log, no faster than the listeners take it."""
        outgoing = self.generation.outgoing()
        log = self.log
        unyielded_bytes = 0
        try:
            async for item in items:
                for message in outgoing(item):
                    data = encode_json(message)
                    log.append("message", message, data)
                    unyielded_bytes += len(data)
                if log.is_full:
                    await log.wait_for_room()
                    unyielded_bytes = 0
                elif unyielded_bytes >= UNSENT_LIMIT_BYTES:
                    # An app that never waits would keep everybody else from running.
                    unyielded_bytes = 0
                    await checkpoint()
        finally:
            if (aclose := getattr(items, "aclose", None)) is not None:
                deadline = anyio.current_time() + CLEAN_UP_TIMEOUT_S
                with anyio.CancelScope(shield=True, deadline=deadline):
                    await aclose()


async def _as_items(called: Any) -> AsyncIterator[Any]:
    """Accept what an async generator function returns, or a coroutine that returns an iterator."""
    if inspect.isawaitable(called):
        called = await called
    if not hasattr(called, "__aiter__"):
        raise NothingYieldedError(type(called).__qualname__)
    return aiter(called)


class NothingYieldedError(MessageError):
    """The app returned a value, of the type that `reason` names, where it had to yield."""

    def __str__(self) -> str:
        text = f"the app returned a value of type {self.reason}; it must yield its messages"
        return f"{text}, in an `async def`" if self.reason == "generator" else text


def _text_of(error: BaseException) -> str:
    """Describe what an app raised, which may be unable to describe itself."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  the user's own code
        text = ""
    name = type(error).__name__
    return _sendable(f"{name}: {text}" if text else name)


def _sendable(text: str) -> str:
    """Escape lone surrogates, which no UTF-8 can carry."""
    return text.encode("utf-8", "backslashreplace").decode()
