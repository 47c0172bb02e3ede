"""Helpers for apps that are built with AgentScope, of either generation.

```python
from asgi_agentrt import AgentApp
from asgi_agentrt.agentscope import dump_state, load_state, stream_agent


class App(AgentApp):
    async def __call__(self, msg, ctx):
        agent = make_my_agent()
        load_state(agent, ctx.state.get("agent", {}))
        try:
            async for chunk in stream_agent(agent, msg):
                yield chunk
        finally:
            ctx.state["agent"] = dump_state(agent)
```
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

from ._agentscope import load_adapter, require_asyncio
from ._app_base import current_context
from ._message import Msg
from ._session import dump_state, load_state
from .exceptions import InvalidRequestError

__all__ = ["dump_state", "load_state", "stream_agent"]


async def stream_agent(agent: Any, msg: Any) -> AsyncGenerator[Msg, None]:
    """Let an agent answer, and yield what it says as it says it.

    Chunks are `Msg`s with `metadata={"chunk": True}`; those of one message share its id. The
    content is a piece of text (`str`), or a list with one block: `thinking` (a piece),
    `tool_call`, `tool_result` or `data` (complete). No full message follows its chunks.

    Leaving the loop, or being cancelled, stops the agent: the generator ends when nothing of it
    runs any more, and its memory is fit for the next turn. Break out of the loop inside
    `contextlib.aclosing(...)`, as with every async generator, to have that done there and then.
    What the model raises comes through as it is.

    AgentScope 1.x: the agent's console output is switched off for good.

    AgentScope 2.x: a tool call that needs its user's consent ends the turn with a message
    whose `metadata["confirm"]` lists the calls: `{"id", "name", "input"}`. The session's next call
    may answer them with the request's `confirm`, a list of `{"id": …, "confirmed": true or
    false}`, which is taken from the current `SessionContext`; the agent then goes on where it
    stopped, and `msg` is not read. Calls that are not in the list stay open, and are asked for
    once more. Without an answer the open calls are given up, and `msg` is answered.

    Args:
        agent: An AgentScope agent: an `AgentBase` in 1.x, an `Agent` in 2.x.
        msg: AgentScope's `Msg`, a list of them, or an event (2.x); also ours, a dict, or text.

    Raises:
        InvalidRequestError: the request's `confirm` is not such a list.
        TypeError: `agent` is none.
    """
    require_asyncio()
    context = current_context.get()
    confirm = None if context is None else context.confirm
    _check(confirm)
    async with aclosing(load_adapter().stream_agent(agent, msg, confirm=confirm)) as chunks:
        async for chunk in chunks:
            yield chunk


def _check(confirm: list[Any] | None) -> None:
    for index, given in enumerate(confirm or ()):
        place = f"confirm[{index}]"
        if not isinstance(given, Mapping):
            raise InvalidRequestError(f"{place} must be an object")
        answer = cast(Mapping[str, Any], given)
        if not isinstance(answer.get("id"), str):
            raise InvalidRequestError(f"{place}.id must be a string")
        if not isinstance(answer.get("confirmed"), bool):
            raise InvalidRequestError(f"{place}.confirmed must be true or false")
