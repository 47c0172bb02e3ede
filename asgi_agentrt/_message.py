"""Messages: our own class, the wire form, and JSON that is checked.

The wire form of a message is a dict with the keys `name`, `content`, `role`, `metadata` and,
when the message has them, `id` and `timestamp`, in this order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

from .exceptions import MessageError

Role: TypeAlias = Literal["user", "assistant", "system"]
WireMessage: TypeAlias = dict[str, Any]

_ROLES = ("user", "assistant", "system")
# Made once: json.dumps() builds an encoder at each call that does not use its defaults.
_to_json: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


@dataclass(slots=True)
class Msg:
    """A message, in AgentScope 1.x's JSON shape, for apps that do without AgentScope.

    Attributes:
        name: Who speaks.
        content: Text, or a list of blocks (`{"type": "text", "text": "…"}`).
        role: `user`, `assistant` or `system`.
        metadata: JSON values for the app's own use.
        id: Chunks of one message share it; None sends none.
        timestamp: When it was made, as text; None sends none.

    Raises:
        ValueError: `role` is none of the three.
    """

    name: str
    content: str | list[dict[str, Any]]
    role: Role
    metadata: dict[str, Any] | None = field(default_factory=dict[str, Any])
    id: str | None = None
    timestamp: str | None = None

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ValueError(f"role must be one of {', '.join(_ROLES)}")

    def to_dict(self) -> WireMessage:
        """Return the wire form; `content` and `metadata` are not copied."""
        wire: WireMessage = {
            "name": self.name,
            "content": self.content,
            "role": self.role,
            "metadata": {} if self.metadata is None else self.metadata,
        }
        if self.id is not None:
            wire["id"] = self.id
        if self.timestamp is not None:
            wire["timestamp"] = self.timestamp
        return wire

    @classmethod
    def from_dict(cls, wire: Mapping[str, Any]) -> Msg:
        """Build a message from its wire form; keys that are not ours are dropped."""
        return cls(
            wire["name"],
            wire["content"],
            wire["role"],
            wire.get("metadata"),
            wire.get("id"),
            wire.get("timestamp"),
        )


def done_message(*, error: bool = False) -> WireMessage:
    """Return the message that ends every stream."""
    metadata = {"done": True, "error": True} if error else {"done": True}
    return {"name": "assistant", "content": "", "role": "assistant", "metadata": metadata}


def to_wire(item: object) -> WireMessage:
    """Turn what an app yielded into the wire form; AgentScope's classes have their own adapter.

    Accepts our `Msg`, a dict with a `content`, a `str` (a piece of the assistant's text), and any
    object whose `to_dict()` or `model_dump()` gives such a dict.

    Raises:
        MessageError: it is none of these.
    """
    if isinstance(item, Msg):
        return item.to_dict()
    if isinstance(item, str):
        return {
            "name": "assistant",
            "content": item,
            "role": "assistant",
            "metadata": {"chunk": True},
        }
    if _is_mapping(item):
        return _wire_from_mapping(item)
    if callable(convert := getattr(item, "to_dict", None)):
        dumped = convert()
    elif callable(convert := getattr(item, "model_dump", None)):
        dumped = convert(mode="json")
    else:
        raise MessageError(f"is of type {type(item).__qualname__}")
    if not _is_mapping(dumped):
        raise MessageError(f"is of type {type(item).__qualname__}, which gives no mapping")
    return _wire_from_mapping(dumped)


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _wire_from_mapping(given: Mapping[Any, Any]) -> WireMessage:
    if "content" not in given:
        raise MessageError("has no content", "message")
    role = given.get("role", "assistant")
    if role not in _ROLES:
        raise MessageError(f"must be one of {', '.join(_ROLES)}", "role")
    metadata = given.get("metadata")
    wire: WireMessage = {
        "name": given.get("name", role),
        "content": given["content"],
        "role": role,
        "metadata": {} if metadata is None else metadata,
    }
    for key in ("id", "timestamp"):
        if given.get(key) is not None:
            wire[key] = given[key]
    return wire


def encode_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON.

    Raises:
        MessageError: the value is not JSON; says where and of which type, never the value.
    """
    try:
        return _to_json(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        path, reason = _find_fault(value, "", 0) or ("", type(error).__name__)
        if len(path) > _LONGEST_PATH:  # a circle, or a key that is a text of its own
            path = f"{path[:_LONGEST_PATH]}…"
        raise MessageError(reason, path) from None


_DEPTH_LIMIT = 200
_LONGEST_PATH = 100


def _find_fault(value: Any, path: str, depth: int) -> tuple[str, str] | None:
    """Return path and reason of the first value that is not JSON, or None."""
    if isinstance(value, str):
        return (path, "holds a lone surrogate") if _has_surrogate(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, "is not a finite number")
    if isinstance(value, int):
        return (path, "has too many digits") if _is_unprintable(value) else None
    if value is None:
        return None
    if not isinstance(value, dict | list | tuple):
        return path, f"is of type {type(value).__qualname__}"
    if depth > _DEPTH_LIMIT:
        return path, f"is nested deeper than {_DEPTH_LIMIT} levels"
    for where, inner in _children(value, path):
        if isinstance(inner, _BadKey):
            return where, inner.reason
        if fault := _find_fault(inner, where, depth + 1):
            return fault
    return None


class _BadKey(NamedTuple):
    reason: str


def _children(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a dict or a list, each with its path; a key that is not JSON as such."""
    if not _is_mapping(value):
        for index, inner in enumerate(value):
            yield f"{path}[{index}]", inner
        return
    for key, inner in value.items():
        # Python's encoder writes numbers and None as text.
        if not (key is None or isinstance(key, str | int | float)):
            yield path, _BadKey(f"has a key of type {type(key).__qualname__}")
        elif fault := _find_fault(key, "", 0):
            yield path, _BadKey(f"has a key that {fault[1]}")
        yield f"{path}.{key}" if path else str(key), inner


def _is_unprintable(number: int) -> bool:
    try:
        int.__repr__(number)
    except ValueError:  # sys.set_int_max_str_digits
        return True
    return False


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
