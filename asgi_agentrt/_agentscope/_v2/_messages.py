"""Messages of AgentScope 2.x: in from a caller, out to the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentscope.message import (
    Base64Source,
    DataBlock,
    Msg,
    TextBlock,
    URLSource,
    UserMsg,
)

from ..._message import Msg as OwnMsg
from ..._message import WireMessage
from ...exceptions import InvalidRequestError
from .._media import Media, read_media


def message_in(message: WireMessage) -> Any:
    """Build the `Msg` of a caller's message; see `Adapter.message_in`."""
    content = message["content"]
    if not isinstance(content, str):
        content = [
            _block_in(block, f"message.content[{index}]") for index, block in enumerate(content)
        ]
    return UserMsg(message["name"], content, metadata=message.get("metadata") or {})


def _block_in(block: Mapping[str, Any], place: str) -> Any:
    if block.get("type") == "text":
        return TextBlock(text=block["text"])
    media = read_media(block, place)
    try:
        source = (
            URLSource(url=media.url, media_type=media.media_type)
            if media.url is not None
            else Base64Source(data=media.data, media_type=media.media_type)
        )
    except ValueError:
        raise InvalidRequestError(f"{place}.source.url must be a URL") from None
    return DataBlock(source=source, name=media.name)


def as_input(message: object) -> Any:
    """Let our own messages and plain text through to an agent as `Msg`; leave the rest alone."""
    if isinstance(message, OwnMsg):
        return message_in(message.to_dict())
    if isinstance(message, str):
        return UserMsg("user", message)
    if isinstance(message, dict):
        return message_in({"name": "user", **message})
    if isinstance(message, list):
        return [as_input(one) for one in message]
    return message


def to_wire(message: Any) -> WireMessage:
    """Return the wire form of a whole message."""
    return {
        "name": message.name,
        "content": blocks_to_wire(message.content),
        "role": message.role,
        "metadata": message.metadata,
        "id": message.id,
        "timestamp": message.created_at,
    }


def blocks_to_wire(blocks: Iterable[Any]) -> list[dict[str, Any]]:
    """Return these blocks in the wire's vocabulary, without hints: those are for the model."""
    return [wire for block in blocks if (wire := _block_to_wire(block)) is not None]


def _block_to_wire(block: Any) -> dict[str, Any] | None:
    match block.type:
        case "text":
            return {"type": "text", "text": block.text}
        case "thinking":
            return {"type": "thinking", "thinking": block.thinking}
        case "tool_call":
            return call_to_wire(block)
        case "tool_result":
            output = block.output if isinstance(block.output, str) else blocks_to_wire(block.output)
            return {"type": "tool_result", "id": block.id, "name": block.name, "output": output}
        case "data":
            return _data_to_wire(block)
        case _:
            return None


def call_to_wire(call: Any) -> dict[str, Any]:
    """Return the `tool_call` block."""
    return {"type": "tool_call", "id": call.id, "name": call.name, "input": call.input}


def _data_to_wire(block: Any) -> dict[str, Any]:
    source = block.source
    if source.type == "url":
        media = Media(media_type=source.media_type, url=str(source.url), name=block.name)
    else:
        media = Media(media_type=source.media_type, data=source.data, name=block.name)
    return media.to_wire()


def is_message(item: object) -> bool:
    """Say whether this is AgentScope's message."""
    return isinstance(item, Msg)
