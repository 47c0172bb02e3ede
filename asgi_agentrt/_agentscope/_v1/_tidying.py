"""Leave an agent's memory so that its next turn works, however this one ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from agentscope.memory import MemoryBase
from agentscope.message import Msg

logger = logging.getLogger(__name__)

_INTERRUPTED = "The tool call has been interrupted."


async def close_open_calls(agent: Any) -> None:
    """Give each tool call of the last round a result; never raises.

    AgentScope gives none to the calls of a round that come after the one at which it is stopped,
    and providers refuse a history with a call that has no result right after it.
    """
    memory = getattr(agent, "memory", None)
    if memory is None or not isinstance(memory, MemoryBase):
        return
    try:
        messages = await memory.get_memory(prepend_summary=False)
        missing, after = _look_for_open_calls(messages)
        if missing:
            # Memories only append: what stands after the results steps aside for a moment.
            await memory.delete([message.id for message in after])
            await memory.add([_result_of(call) for call in missing])
            await memory.add(after)
    except Exception as error:  # noqa: BLE001  any memory's own; the turn has ended, well or badly
        logger.warning("an agent's memory could not be tidied up: %s", type(error).__name__)


def _look_for_open_calls(messages: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the last round's calls without a result, and the messages after its results."""
    for index in range(len(messages) - 1, -1, -1):
        if calls := messages[index].get_content_blocks("tool_use"):
            break
    else:
        return [], []
    answered: set[str] = set()
    after: list[Any] = []
    for message in messages[index + 1 :]:
        if results := message.get_content_blocks("tool_result"):
            answered.update(result["id"] for result in results)
        else:
            after.append(message)
    return [call for call in calls if call["id"] not in answered], after


def _result_of(call: Any) -> Msg:
    result = {
        "type": "tool_result",
        "id": call["id"],
        "name": call["name"],
        "output": _INTERRUPTED,
    }
    return Msg("system", [result], "system")
