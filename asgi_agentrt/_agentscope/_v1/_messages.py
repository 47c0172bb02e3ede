"""Messages of AgentScope 1.x: in from a caller, out to the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agentscope.message import Msg

from ..._message import Msg as OwnMsg
from ..._message import WireMessage, encode_json
from ...exceptions import InvalidRequestError
from .._media import MEDIA_KINDS, Media, media_type_of, read_media


def message_in(message: WireMessage) -> Msg:
    """Build the `Msg` of a caller's message; see `Adapter.message_in`."""
    content = message["content"]
    if not isinstance(content, str):
        content = [
            _block_in(block, f"message.content[{index}]") for index, block in enumerate(content)
        ]
    return Msg(message["name"], content, "user", metadata=message.get("metadata"))


def _block_in(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    if block.get("type") == "text":
        return {"type": "text", "text": block["text"]}
    media = read_media(block, place)
    if media.kind not in MEDIA_KINDS:
        raise InvalidRequestError(
            f"{place}: AgentScope 1.x takes images, audio and video, not {media.media_type}"
        )
    source = media.to_wire()["source"]
    if media.url is not None:
        del source["media_type"]
    return {"type": media.kind, "source": source}


def as_input(message: object) -> Any:
    """Let our own messages and plain text through to an agent as `Msg`; leave the rest alone."""
    if isinstance(message, OwnMsg):
        return message_in(message.to_dict())
    if isinstance(message, str):
        return Msg("user", message, "user")
    if isinstance(message, dict):
        return message_in({"name": "user", **message})
    if isinstance(message, list):
        return [as_input(one) for one in message]
    return message


def to_wire(message: Msg) -> WireMessage:
    """Return the wire form of a whole message."""
    content = message.content
    return {
        "name": message.name,
        "content": content if isinstance(content, str) else blocks_to_wire(content),
        "role": message.role,
        "metadata": message.metadata or {},
        "id": message.id,
        "timestamp": message.timestamp,
    }


def blocks_to_wire(blocks: Iterable[Any]) -> list[Any]:
    """Return these blocks in the wire's vocabulary; unknown ones are left as they are."""
    return [block_to_wire(block) for block in blocks]


def block_to_wire(block: Any) -> Any:
    """Return one block in the wire's vocabulary."""
    if not isinstance(block, Mapping):
        return block
    match block.get("type"):
        case "text":
            return {"type": "text", "text": block.get("text", "")}
        case "thinking":
            return {"type": "thinking", "thinking": block.get("thinking", "")}
        case "tool_use":
            arguments = encode_json(block.get("input") or {}).decode()
            return {
                "type": "tool_call",
                "id": block.get("id"),
                "name": block.get("name"),
                "input": arguments,
            }
        case "tool_result":
            output = block.get("output")
            return {
                "type": "tool_result",
                "id": block.get("id"),
                "name": block.get("name"),
                "output": blocks_to_wire(output) if isinstance(output, list) else output,
            }
        case "image" | "audio" | "video" as kind:
            return _media_to_wire(kind, block)
        case _:
            return dict(block)


def _media_to_wire(kind: str, block: Mapping[str, Any]) -> dict[str, Any]:
    match block.get("source"):
        case {"type": "url", "url": str(url)}:
            return Media(media_type=media_type_of(url, kind), url=url).to_wire()
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return Media(media_type=media_type, data=data).to_wire()
        case _:
            return dict(block)


def convert(item: object) -> list[WireMessage]:
    """Return what `Adapter.outgoing` promises; 1.x has messages only, which need no memory."""
    return [to_wire(item)] if isinstance(item, Msg) else []
