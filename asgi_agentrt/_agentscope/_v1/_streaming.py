"""Stream an agent of AgentScope 1.x: growing snapshots of its messages become differences."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any

from agentscope.agent import AgentBase
from agentscope.message import Msg

from ..._message import Msg as OwnMsg
from .._task_stream import Feed, stream_task
from ._messages import as_input, block_to_wire
from ._tidying import close_open_calls

# The blocks that grow, and the key of what grows; all others are sent when they are complete.
_GROWING = {"text": "text", "thinking": "thinking"}


@dataclass(slots=True)
class _Sent:
    """What was sent of one message: the text of each growing block, and the complete blocks."""

    texts: dict[int, str] = field(default_factory=dict[int, str])
    whole: set[int] = field(default_factory=set[int])


class Differences:
    """Turns the snapshots of a turn's messages into chunks."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._messages: dict[str, _Sent] = {}

    def chunks(self, message: Msg, *, last: bool) -> Iterator[OwnMsg]:
        """Yield what this snapshot has that those before it had not."""
        sent = self._messages.setdefault(message.id, _Sent())
        content = message.content
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for index, block in enumerate(blocks):
            key = _GROWING.get(block["type"])
            if key is not None:
                if more := _growth(sent, index, block.get(key) or ""):
                    said = more if key == "text" else [{"type": key, key: more}]
                    yield self._chunk(message, said)
            elif last and index not in sent.whole:
                sent.whole.add(index)
                yield self._chunk(message, [block_to_wire(block)])

    def _chunk(self, message: Msg, content: Any) -> OwnMsg:
        # Tool results come as messages of a "system"; to a client it is the agent that acts.
        system = message.role == "system"
        return OwnMsg(
            self._name if system else message.name,
            content,
            "assistant" if system else message.role,
            {"chunk": True},
            message.id,
            message.timestamp,
        )


def _growth(sent: _Sent, index: int, text: str) -> str:
    before = sent.texts.get(index, "")
    sent.texts[index] = text
    # A hook may have rewritten the text; then there is no difference to send but the new text.
    return text[len(before) :] if text.startswith(before) else text


async def stream_agent(agent: Any, msg: Any) -> AsyncGenerator[OwnMsg, None]:
    """See `asgi_agentrt.agentscope.stream_agent`."""
    if not isinstance(agent, AgentBase):
        raise TypeError(f"stream_agent needs an AgentScope agent, not {type(agent).__qualname__}")
    inputs = as_input(msg)
    agent.set_console_output_enabled(enabled=False)

    async def work(feed: Feed) -> None:
        agent.set_msg_queue_enabled(enabled=True, queue=feed)
        try:
            answer = await agent(inputs)
        finally:
            agent.set_msg_queue_enabled(enabled=False)
        # An agent that prints nothing has said this only; of one that does, nothing is left to say.
        if isinstance(answer, Msg):
            await feed.put((answer, True, None))

    async def tidy() -> None:
        await close_open_calls(agent)

    differences = Differences(agent.name)
    async for message, last, _speech in stream_task(work, tidy):
        for chunk in differences.chunks(message, last=last):
            yield chunk
