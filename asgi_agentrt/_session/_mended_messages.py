"""Put messages together again, each result behind its call."""

from __future__ import annotations

from typing import Any

from ._conversation import (
    RESULT,
    Block,
    Matches,
    Message,
    Part,
    identity,
    is_whole,
    match,
    parts_of_1,
    parts_of_2,
    settle,
)
from ._document import is_array

_INTERRUPTED = "The tool call has been interrupted."


def mend_memory(items: list[Any], messages: list[Message], *, keep_last: bool) -> list[Any]:
    """Mend the messages of a memory of AgentScope 1.x; returns `items` if they are whole.

    Args:
        items: Messages, or pairs of a message and its marks.
        messages: Those in the items.
        keep_last: See `mend`.
    """
    parts = list(parts_of_1(messages))
    waiting = _last_calls(parts) if keep_last else set[int]()
    if is_whole(parts, waiting):
        return items
    matches = match(parts, waiting)
    settled = _settled_calls(matches)
    mended: list[Any] = []
    for number, part in enumerate(parts):
        item, message = items[part.index], messages[part.index]
        if part.said or not part.results:
            said = [settled.get(id(block), block) for block in part.said]
            mended.append(_item_with(_with_content(message, said), item))
        mended += _answering_items(number, parts, matches, items, messages)
        missing = matches.missing[number]
        mended += [_interrupted_item(item, message, call) for call in missing]
    return mended


def _answering_items(
    number: int, parts: list[Part], matches: Matches, items: list[Any], messages: list[Message]
) -> list[Any]:
    """Return the results of a part's calls, as items of a memory."""
    found: list[Any] = []
    origins = [answer.origin for answer in matches.answers[number]]
    for place, (result, origin) in enumerate(matches.answers[number]):
        index = parts[origin].index
        item, message = items[index], messages[index]
        if len(message["content"]) == origins.count(origin):
            # It holds these results only, and goes as it is, with the first of them.
            if origins.index(origin) == place:
                found.append(item)
        else:
            alone = {"id": f"{message.get('id')}-{identity(result)}", "content": [result]}
            found.append(_item_with({**message, **alone}, item))
    return found


def _interrupted_item(item: Any, message: Message, call: Block) -> Any:
    """Return a result for a call in an item of a memory: a message as AgentScope makes them.

    It is marked as the call is, so that a memory hides both or neither.
    """
    answer: Message = {
        "id": f"{message.get('id')}-{identity(call)}",
        "name": "system",
        "role": "system",
        "content": [_interrupted_result(call)],
        "metadata": {},
    }
    if "timestamp" in message:
        answer["timestamp"] = message["timestamp"]
    return _item_with(answer, item)


def _item_with(message: Message, item: Any) -> Any:
    """Return the message with the marks that the item has, if it has any."""
    if not is_array(item):
        return message
    marks = item[1]
    return [message, list(marks) if is_array(marks) else marks]


def mend_context(items: list[Any], messages: list[Message], *, keep_last: bool) -> list[Any]:
    """Mend the messages of a state of AgentScope 2.x; returns `items` if they are whole.

    Args:
        items: The messages.
        messages: The same.
        keep_last: See `mend`.
    """
    parts = list(parts_of_2(messages))
    waiting = _waiting_calls(parts, messages)
    if keep_last:
        waiting |= _last_calls(parts)
    if is_whole(parts, waiting):
        return items
    matches = match(parts, waiting)
    settled = _settled_calls(matches)
    contents: dict[int, list[Any]] = {}
    for number, part in enumerate(parts):
        content = contents.setdefault(part.index, [])
        content += [settled.get(id(block), block) for block in part.said]
        content += [answer.result for answer in matches.answers[number]]
        content += [_interrupted_result_of_2(call) for call in matches.missing[number]]
    return [
        _with_content(message, contents[index]) if index in contents else message
        for index, message in enumerate(messages)
        if contents.get(index) != []  # it held nothing but results
    ]


def _interrupted_result(call: Block) -> Block:
    return {
        "type": RESULT,
        "id": call.get("id"),
        "name": call.get("name"),
        "output": _INTERRUPTED,
    }


def _interrupted_result_of_2(call: Block) -> Block:
    result = {**_interrupted_result(call), "state": "interrupted"}
    if "created_at" in call:
        result["created_at"] = call["created_at"]
    return result


def _waiting_calls(parts: list[Part], messages: list[Message]) -> set[int]:
    """Return the `id()`s of the calls that AgentScope 2.x itself regards as not over.

    They are the last message's that wait for consent or for a result from outside, and those that
    run when it has come.
    """
    last = len(messages) - 1
    if messages[last]["role"] != "assistant":
        return set()
    calls = [call for part in parts if part.index == last for call in part.calls]
    results = {identity(result) for part in parts if part.index == last for result in part.results}
    unanswered = [call for call in calls if identity(call) not in results]
    if not any(call.get("state") in ("asking", "submitted") for call in unanswered):
        return set()
    return {
        id(call)
        for call in unanswered
        if call.get("state", "pending") in ("asking", "submitted", "pending")
    }


def _last_calls(parts: list[Part]) -> set[int]:
    """Return the `id()`s of the calls that nothing but results follows."""
    last = next((part for part in reversed(parts) if part.said), None)
    return set() if last is None else {id(call) for call in last.calls}


def _settled_calls(matches: Matches) -> dict[int, Block]:
    """Return the calls as they have to be, by the `id()`s of what they are now."""
    settled = {id(call): settle(call, result) for call, result in matches.settled}
    for calls in matches.missing:
        settled.update((id(call), settle(call, None)) for call in calls)
    return settled


def _with_content(message: Message, content: list[Any]) -> Message:
    """Return the message with these blocks; the same one if it has them."""
    before: Any = message["content"]
    blocks = before if is_array(before) else [before]
    is_same = len(blocks) == len(content) and all(
        block is other for block, other in zip(blocks, content, strict=True)
    )
    return message if is_same else {**message, "content": content}
