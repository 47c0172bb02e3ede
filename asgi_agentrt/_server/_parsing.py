"""From the bytes of a request to an invocation; everything wrong is said with its field."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeGuard

from .._message import WireMessage
from .._run import Invocation
from ..exceptions import InvalidRequestError

MAX_ID_CHARACTERS = 256
# Far above what a message needs, far below what would exhaust the stack of any code that walks it.
MAX_DEPTH = 64
_MEDIA = ("image", "audio", "video", "data")


def parse_invocation(body: bytes, user_id: str | None = None) -> Invocation:
    """Return what the body of `POST /invoke` asks for.

    Args:
        body: What the client sent.
        user_id: Who sent it; None where nobody knows, and `metadata.user_id` is believed.

    Raises:
        InvalidRequestError: it is not JSON, or a field is missing or of the wrong type.
    """
    request = _parse_json(body)
    if not _is_object(request):
        _fail("the body must be a JSON object")
    confirm = request.get("confirm")
    if confirm is not None and not _is_list(confirm):
        _fail("confirm must be a list")
    metadata = _object(request, "metadata", "metadata")
    if user_id is None:
        user_id = _id(metadata, "user_id", "metadata.user_id", required=False)
    return Invocation(
        session_id=_id(request, "session_id", "session_id", required=True),
        message=_message(request, is_optional=confirm is not None),
        user_id=user_id,
        metadata=metadata,
        confirm=confirm,
    )


def _parse_json(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        _fail("the body is not UTF-8")
    if text.startswith("\ufeff"):
        _fail("the body must not begin with a byte order mark")
    try:
        request = _decode(text)
        # A lone surrogate comes through as an escape only, and could never be sent back.
        if "\\u" in text:
            json.dumps(request, ensure_ascii=False).encode("utf-8")
    except InvalidRequestError:
        raise  # a ValueError, as the next ones
    except UnicodeEncodeError:
        _fail("the body holds a lone surrogate")
    except json.JSONDecodeError as error:
        _fail(f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}")
    except RecursionError:
        _fail(f"the body is nested deeper than {MAX_DEPTH} levels")
    except ValueError:
        _fail("the body holds a number that is too long")
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(request)
    return request


def _check_depth(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if _is_object(outer) else outer)
            if _is_object(inner) or _is_list(inner)
        ]
        if not level:
            return
    _fail(f"the body is nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    _fail(f"the body is not JSON: {name} is no JSON number")


def _finite(text: str) -> float:
    """Read a number; one like 1e999 would become infinite, which no answer could hold."""
    number = float(text)
    if math.isinf(number):
        _fail("the body holds a number that is too large")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object; of two equal keys, whoever looked at it before us may have seen the other."""
    made = dict(pairs)
    if len(made) < len(pairs):
        _fail("the body holds an object with the same key twice")
    return made


# Made once: json.loads() builds a decoder at each call that does not use its defaults.
_decode: Callable[[str], Any] = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique
).decode


def _id(holder: dict[str, Any], key: str, path: str, *, required: bool) -> str:
    value = holder.get(key)
    if value is None:
        if required:
            _fail(f"{path} is required")
        return ""
    if not isinstance(value, str):
        _fail(f"{path} must be a string")
    if required and not value:
        _fail(f"{path} must not be empty")
    if len(value) > MAX_ID_CHARACTERS:
        _fail(f"{path} must not be longer than {MAX_ID_CHARACTERS} characters")
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
        _fail(f"{path} must not hold control characters")
    return value


def _object(holder: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    value = holder.get(key)
    if value is None:
        return {}
    if not _is_object(value):
        _fail(f"{path} must be an object")
    return value


def _message(request: dict[str, Any], *, is_optional: bool) -> WireMessage:
    """Rebuild the message from what a client may say: a user's text and media, nothing else."""
    given = request.get("message")
    if given is None:
        if not is_optional:
            _fail("message is required")
        given = {"content": ""}
    if not _is_object(given):
        _fail("message must be an object")
    if given.get("role", "user") != "user":
        _fail('message.role must be "user"')
    name = given.get("name", "user")
    if not isinstance(name, str):
        _fail("message.name must be a string")
    content = given.get("content")
    if content is None:
        _fail("message.content is required")
    if _is_list(content):
        content = [_block(block, f"message.content[{i}]") for i, block in enumerate(content)]
    elif not isinstance(content, str):
        _fail("message.content must be a string or a list of blocks")
    metadata = _object(given, "metadata", "message.metadata")
    return {"name": name, "content": content, "role": "user", "metadata": metadata}


def _block(block: Any, path: str) -> dict[str, Any]:
    if not _is_object(block):
        _fail(f"{path} must be an object")
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": _string(block, "text", path)}
    if kind not in _MEDIA:
        _fail(f"{path}.type must be one of text, {', '.join(_MEDIA)}")
    return {"type": kind, "source": _source(block.get("source"), f"{path}.source")}


def _source(source: Any, path: str) -> dict[str, str]:
    """Read where a media block's bytes are: at a URL, or in the block."""
    if not _is_object(source):
        _fail(f"{path} must be an object")
    kind = source.get("type")
    if kind == "base64":
        keys: tuple[str, ...] = ("media_type", "data")
    elif kind == "url":
        keys = ("url", "media_type") if "media_type" in source else ("url",)
    else:
        _fail(f'{path}.type must be "url" or "base64"')
    return {"type": kind, **{key: _string(source, key, path) for key in keys}}


def _string(holder: dict[str, Any], key: str, path: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        _fail(f"{path}.{key} must be a string")
    return value


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether parsed JSON is an object, whose keys are strings then."""
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _fail(reason: str) -> NoReturn:
    raise InvalidRequestError(reason)
