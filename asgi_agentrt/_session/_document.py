"""Documents as JSON, in small steps that leave other threads their turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeGuard

from .._message import encode_json
from ..exceptions import MessageError, SessionCorruptError, SessionError
from ._store import Document

# One call of the C encoder keeps the interpreter to itself: about a millisecond for so many bytes.
_STEP_BYTES = 65536
_NODE_BYTES = 8
_SLICE = 64
_DEPTH_LIMIT = 30
_SCALARS = frozenset({str, int, float, bool, type(None)})

_to_text: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode
# For text with halves of characters, which a model's stream that was cut may leave.
_to_ascii: Callable[[Any], str] = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def is_object(value: object) -> TypeGuard[dict[Any, Any]]:
    """Whether a value becomes a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value becomes a JSON array."""
    return isinstance(value, list | tuple)


class NotJsonError(SessionError):
    """What was to be saved is not JSON: the fault of who saves, not of what keeps sessions."""


def copy_json(value: Any) -> Any:
    """Return a copy that shares no dict and no list with the original.

    Raises:
        RecursionError: the value is nested too deeply, or holds itself.
    """
    if is_object(value):
        return {
            key: inner if type(inner) in _SCALARS else copy_json(inner)
            for key, inner in value.items()
        }
    if is_array(value):
        return [inner if type(inner) in _SCALARS else copy_json(inner) for inner in value]
    return value


def encode_document(document: Document, header: tuple[str, Any] | None = None) -> list[bytes]:
    """Return the document as pieces of JSON in UTF-8, the header entry first.

    Raises:
        NotJsonError: a value is not JSON; says in which entry and where, never the value.
    """
    pieces = [b"{"]
    if header is not None:
        pieces.append(f"{_to_ascii(header[0])}:{_to_ascii(header[1])}".encode())
    for name, value in document.items():
        separator = "," if len(pieces) > 1 else ""
        try:
            pieces.append(f"{separator}{_to_ascii(name)}:".encode())
            pieces.extend(map(_to_bytes, _encode(value)))
        except (TypeError, ValueError, RecursionError):
            raise _not_json(name, value) from None
    pieces.append(b"}")
    return pieces


def _not_json(name: str, value: Any) -> NotJsonError:
    try:
        encode_json(value)
    except MessageError as error:
        where = f"{error.path} " if error.path else ""
        return NotJsonError(f'the state of "{name}" cannot be saved: {where}{error.reason}')
    return NotJsonError(f'the state of "{name}" cannot be saved: it is not JSON')


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Such characters stand in strings only, where JSON has an escape for them.
        return "".join(
            f"\\u{ord(char):04x}" if "\ud800" <= char <= "\udfff" else char for char in text
        ).encode()


def _encode(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the JSON of a value in pieces of some `_STEP_BYTES`, or of one string."""
    # Deeper than any big state is; what holds itself goes to the encoder, which notices.
    is_divided = depth < _DEPTH_LIMIT and not _is_light(value)
    if is_divided and is_object(value):
        yield from _encode_dict(value, depth)
    elif is_divided and is_array(value):
        yield from _encode_list(value, depth)
    else:
        yield _to_text(value)


def _encode_dict(value: dict[Any, Any], depth: int) -> Iterator[str]:
    opening = "{"
    items = iter(value.items())
    while part := dict(islice(items, _SLICE)):
        if _is_light(part):
            yield opening + _to_text(part)[1:-1]
            opening = ","
            continue
        for key, inner in part.items():
            # The encoder knows what becomes of keys that are no text.
            yield opening + _to_text({key: None})[1:-5]
            yield from _encode(inner, depth + 1)
            opening = ","
    yield "}"


def _encode_list(value: list[Any] | tuple[Any, ...], depth: int) -> Iterator[str]:
    opening = "["
    for start in range(0, len(value), _SLICE):
        part = value[start : start + _SLICE]
        if _is_light(part):
            yield opening + _to_text(part)[1:-1]
            opening = ","
            continue
        for inner in part:
            yield opening
            yield from _encode(inner, depth + 1)
            opening = ","
    yield "]"


def _is_light(value: Any) -> bool:
    """Whether one call may encode it; looks no further than it must."""
    weight = 0
    waiting = [value]
    while waiting:
        item = waiting.pop()
        weight += _NODE_BYTES
        if isinstance(item, str):
            weight += len(item)
        elif is_object(item):
            weight += _NODE_BYTES * len(item)
            waiting.extend(item.values())
        elif is_array(item):
            waiting.extend(item)
        if weight + _NODE_BYTES * len(waiting) > _STEP_BYTES:
            return False
    return True


def decode_document(content: bytes, source: str) -> Document:
    """Return the document that `content` holds.

    Args:
        content: JSON; also with halves of characters, as AgentScope writes them.
        source: Where it comes from, for the error.

    Raises:
        SessionCorruptError: it is no JSON object; the text names `source`.
    """
    try:
        document = json.loads(content.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        raise SessionCorruptError(f"{source} is no session: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"{error.msg} at byte {error.pos}" if content else "it is empty"
        raise SessionCorruptError(f"{source} is no session: {where}") from None
    except (ValueError, RecursionError) as error:
        raise SessionCorruptError(f"{source} is no session: {type(error).__name__}") from None
    if not is_object(document):
        raise SessionCorruptError(f"{source} is no session: it is not a JSON object")
    return document


def is_same_json(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON; unlike `==`, 1, 1.0 and true are three values."""
    if type(one) is not type(other):
        return False
    if is_object(one):
        return list(one) == list(other) and all(
            is_same_json(value, other[key]) for key, value in one.items()
        )
    if is_array(one):
        return len(one) == len(other) and all(map(is_same_json, one, other))
    return bool(one == other)
