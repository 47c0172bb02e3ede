"""Mend conversations that were cut off in the middle of a tool call, before they are saved.

AgentScope leaves such a history when it is cancelled at the wrong moment, or left by whoever reads
its stream. Providers refuse it for good: each call must have its result right behind it.

What is looked for are the messages of AgentScope's memories (1.x: `content`) and of its states
(2.x: `context`), wherever in a state they stand. They are known by their shape, so that none of
AgentScope's classes has to be imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ._conversation import is_plainly_whole, messages_of
from ._document import is_object
from ._mended_messages import mend_context, mend_memory

_MESSAGES: Final[dict[Any, Callable[..., Any]]] = {"content": mend_memory, "context": mend_context}
_CONTAINERS = frozenset({dict, list})
# Deeper than the states of an app's agents lie, and far from Python's own limit.
_DEPTH_LIMIT = 20


def mend(state: Any, *, keep_last: bool = False) -> Any:
    """Return the state with conversations that models accept; the very same if they all are such.

    A call without a result gets one, which says that it was interrupted; a result without a call
    goes, and one that stands elsewhere is put behind its call. A call that was cut off while the
    model still wrote it loses its arguments. Calls of 2.x that wait for their user's consent, or
    for somebody to execute them, stay as they are. What was mended is whole.

    Args:
        state: A dict or a list, as `copy_json` returns it; it is not changed.
        keep_last: Leave calls that nothing follows as they are: an app may end its turn with them,
            and bring their results in the next one.
    """
    return _mend(state, keep_last, 0)


def _mend(value: Any, keep_last: bool, depth: int) -> Any:  # noqa: FBT001  internal, and recursive
    if depth > _DEPTH_LIMIT:
        return value
    entries: Any = value.items() if is_object(value) else enumerate(value)
    changes: dict[Any, Any] = {}
    for key, inner in entries:
        if type(inner) in _CONTAINERS:
            mended = _mend_entry(key, inner, keep_last, depth)
            if mended is not inner:
                changes[key] = mended
    if not changes:
        return value
    if is_object(value):
        return {**value, **changes}
    return [changes.get(index, inner) for index, inner in enumerate(value)]


def _mend_entry(key: Any, inner: Any, keep_last: bool, depth: int) -> Any:  # noqa: FBT001  as above
    mend_messages = _MESSAGES.get(key)
    if mend_messages is None or (messages := messages_of(inner)) is None:
        return _mend(inner, keep_last, depth + 1)
    if is_plainly_whole(messages):
        return inner
    return mend_messages(inner, messages, keep_last=keep_last)
