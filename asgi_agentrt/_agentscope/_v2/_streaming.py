"""Stream an agent of AgentScope 2.x, and answer the questions that its last turn left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from agentscope.event import (
    ConfirmResult,
    RequireUserConfirmEvent,
    UserConfirmResultEvent,
    UserInterruptEvent,
)
from agentscope.message import ToolCallState

from ..._message import Msg as OwnMsg
from .._task_stream import Feed, stream_task
from ._events import EventConverter
from ._messages import as_input


async def stream_agent(
    agent: Any, msg: Any, *, confirm: Sequence[Any] | None = None
) -> AsyncGenerator[OwnMsg, None]:
    """See `asgi_agentrt.agentscope.stream_agent`."""
    if not callable(getattr(agent, "reply_stream", None)):
        raise TypeError(f"stream_agent needs an AgentScope agent, not {type(agent).__qualname__}")
    inputs = as_input(msg)

    async def work(feed: Feed) -> None:
        answer = await _unpark(agent, inputs, confirm)
        async with aclosing(agent.reply_stream(answer)) as events:
            async for event in events:
                await _hand_over(event, feed)

    convert = EventConverter(getattr(agent, "name", "assistant"))
    question: RequireUserConfirmEvent | None = None
    async for event in stream_task(work):
        if isinstance(event, RequireUserConfirmEvent):
            question = event  # results of other calls may still come, but a question comes last
            continue
        for wire in convert(event):
            yield OwnMsg.from_dict(wire)
    # AgentScope asks once; who answered some of the calls only is asked for the rest again.
    if asking := [call for call in _open_calls(agent) if call.state == ToolCallState.ASKING]:
        question = RequireUserConfirmEvent(reply_id=agent.state.reply_id, tool_calls=asking)
    if question is not None:
        for wire in convert(question):
            yield OwnMsg.from_dict(wire)


async def _hand_over(event: Any, feed: Feed) -> None:
    """Put an event into the feed; a cancellation goes to the agent, which tidies up after it.

    Raised here, while the agent stands at a `yield`, it would cut the agent off.
    """
    try:
        await feed.put(event)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not feed.abandoned:
            raise
        task.cancel()


async def _unpark(agent: Any, inputs: Any, confirm: Sequence[Any] | None) -> Any:
    """Return what to give to the agent: the message, or the answers that it waits for.

    An agent that waits refuses a plain message; the calls it waits for are given up first.
    """
    open_calls = {call.id: call for call in _open_calls(agent)}
    if not open_calls or _is_event(inputs):
        return inputs
    reply_id = agent.state.reply_id
    answers = [
        ConfirmResult(confirmed=answer["confirmed"], tool_call=open_calls[answer["id"]])
        for answer in confirm or ()
        if answer["id"] in open_calls
    ]
    if answers:
        return UserConfirmResultEvent(reply_id=reply_id, confirm_results=answers)
    async with aclosing(agent.reply_stream(UserInterruptEvent(reply_id=reply_id))) as events:
        async for _ in events:
            pass  # it tells that it was interrupted, which the caller knows
    return inputs


def _open_calls(agent: Any) -> list[Any]:
    """Return the calls that wait for somebody: an answer, or a result from outside."""
    state = getattr(agent, "state", None)  # agents on another machine have none
    if state is None or not hasattr(state, "get_awaiting_tool_calls"):
        return []
    return list(state.get_awaiting_tool_calls(agent.name))


def _is_event(inputs: Any) -> bool:
    """Say whether the app answers the open questions itself."""
    return hasattr(inputs, "reply_id")
