"""Events of AgentScope 2.x: what a client gets to read of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from agentscope.event import AgentEvent

from ..._message import WireMessage
from .._media import Media
from ._messages import call_to_wire, is_message, to_wire

EVENT_CLASSES: tuple[type, ...] = get_args(AgentEvent)


@dataclass(slots=True)
class _Result:
    """A tool's result, as far as it has come."""

    name: str
    output: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class EventConverter:
    """Turns the messages and events of one run into wire messages.

    Text and thoughts go out piece by piece, tool calls, results and data when they are complete.
    """

    def __init__(self, default_name: str = "assistant") -> None:
        self._default = (default_name, None)
        self._replies: dict[str, tuple[str, str | None]] = {}
        self._calls: dict[str, tuple[str, list[str]]] = {}
        self._results: dict[str, _Result] = {}
        self._data: dict[str, dict[str, Any]] = {}
        self._table: dict[str, Callable[[Any], list[WireMessage]]] = {
            "REPLY_START": self._reply_start,
            "REPLY_END": self._reply_end,
            "TEXT_BLOCK_DELTA": self._text,
            "THINKING_BLOCK_DELTA": self._thinking,
            "TOOL_CALL_START": self._call_start,
            "TOOL_CALL_DELTA": self._call_delta,
            "TOOL_CALL_END": self._call_end,
            "TOOL_RESULT_START": self._result_start,
            "TOOL_RESULT_TEXT_DELTA": self._result_text,
            "TOOL_RESULT_DATA_DELTA": self._result_data,
            "TOOL_RESULT_END": self._result_end,
            "DATA_BLOCK_START": self._data_start,
            "DATA_BLOCK_DELTA": self._data_delta,
            "DATA_BLOCK_END": self._data_end,
            "REQUIRE_USER_CONFIRM": self._confirm,
        }

    def __call__(self, item: Any) -> list[WireMessage]:
        """Return the messages to send for a `Msg` or an event; often none."""
        if is_message(item):
            return [to_wire(item)]
        convert = self._table.get(getattr(item, "type", ""))
        return [] if convert is None else convert(item)

    def _message(self, event: Any, content: Any, metadata: dict[str, Any]) -> list[WireMessage]:
        name, timestamp = self._replies.get(event.reply_id, self._default)
        wire: WireMessage = {
            "name": name,
            "content": content,
            "role": "assistant",
            "metadata": metadata,
            "id": event.reply_id,
        }
        if timestamp is not None:
            wire["timestamp"] = timestamp
        return [wire]

    def _chunk(self, event: Any, content: Any) -> list[WireMessage]:
        return self._message(event, content, {"chunk": True})

    def _reply_start(self, event: Any) -> list[WireMessage]:
        self._replies[event.reply_id] = (event.name, event.created_at)
        return []

    def _reply_end(self, event: Any) -> list[WireMessage]:
        self._replies.pop(event.reply_id, None)
        return []

    def _text(self, event: Any) -> list[WireMessage]:
        return self._chunk(event, event.delta) if event.delta else []

    def _thinking(self, event: Any) -> list[WireMessage]:
        if not event.delta:
            return []
        return self._chunk(event, [{"type": "thinking", "thinking": event.delta}])

    def _call_start(self, event: Any) -> list[WireMessage]:
        self._calls[event.tool_call_id] = (event.tool_call_name, [])
        return []

    def _call_delta(self, event: Any) -> list[WireMessage]:
        if (call := self._calls.get(event.tool_call_id)) is not None:
            call[1].append(event.delta)
        return []

    def _call_end(self, event: Any) -> list[WireMessage]:
        name, pieces = self._calls.pop(event.tool_call_id, ("", []))
        arguments = "".join(pieces) or "{}"
        call = {"type": "tool_call", "id": event.tool_call_id, "name": name, "input": arguments}
        return self._chunk(event, [call])

    def _result_start(self, event: Any) -> list[WireMessage]:
        self._results[event.tool_call_id] = _Result(event.tool_call_name)
        return []

    def _output(self, event: Any) -> list[dict[str, Any]]:
        return self._results.setdefault(event.tool_call_id, _Result("")).output

    def _result_text(self, event: Any) -> list[WireMessage]:
        output = self._output(event)
        if output and output[-1]["type"] == "text":
            output[-1]["text"] += event.delta
        else:
            output.append({"type": "text", "text": event.delta})
        return []

    def _result_data(self, event: Any) -> list[WireMessage]:
        media = Media(media_type=event.media_type, url=event.url, data=event.data)
        self._output(event).append(media.to_wire())
        return []

    def _result_end(self, event: Any) -> list[WireMessage]:
        result = self._results.pop(event.tool_call_id, _Result(""))
        return self._chunk(
            event,
            [
                {
                    "type": "tool_result",
                    "id": event.tool_call_id,
                    "name": result.name,
                    "output": result.output,
                }
            ],
        )

    def _data_start(self, event: Any) -> list[WireMessage]:
        self._data[event.block_id] = {"name": event.name, "data": [], "url": None}
        return []

    def _data_delta(self, event: Any) -> list[WireMessage]:
        if (open_block := self._data.get(event.block_id)) is not None:
            open_block["media_type"] = event.media_type
            if event.url is not None:
                open_block["url"] = event.url
            else:
                open_block["data"].append(event.data)
        return []

    def _data_end(self, event: Any) -> list[WireMessage]:
        block = self._data.pop(event.block_id, {})
        if "media_type" not in block:
            return []
        url = block["url"]
        data = None if url is not None else "".join(block["data"])
        media = Media(media_type=block["media_type"], url=url, data=data, name=block["name"])
        return self._chunk(event, [media.to_wire()])

    def _confirm(self, event: Any) -> list[WireMessage]:
        calls = [call_to_wire(call) for call in event.tool_calls]
        asked = [{key: call[key] for key in ("id", "name", "input")} for call in calls]
        return self._message(event, "", {"confirm": asked})
