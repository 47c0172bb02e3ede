"""The messages of a conversation, as AgentScope keeps them, and whose result is where.

Both generations are read as the same thing, a list of parts: what a model's provider gets as one
message, and the results that follow it.

- 1.x: a message holds calls (`tool_use`), and each of those after it one result, or more.
- 2.x: a message holds a whole reply: calls (`tool_call`), results, text, calls, results, and so on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from ._document import is_array, is_object

Block: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]

RESULT: Final = "tool_result"
_CALLS: Final = ("tool_use", "tool_call")


@dataclass(slots=True)
class Part:
    """What was said at once, and the results that stand behind it.

    Attributes:
        index: The message's.
        said: Blocks other than results; none where a message begins with results.
        calls: Those of `said` that are calls.
        results: As they stand, whatever calls they belong to.
    """

    index: int
    said: list[Any]
    calls: list[Block] = field(default_factory=list[Block])
    results: list[Block] = field(default_factory=list[Block])

    def say(self, block: Any) -> None:
        """Add a block that is no result."""
        self.said.append(block)
        if is_object(block) and block.get("type") in _CALLS:
            self.calls.append(block)


class Answer(NamedTuple):
    """A result, and the number of the part that it stands in."""

    result: Block
    origin: int


class Matches(NamedTuple):
    """For each part, the results that belong to its calls, and the calls without a result.

    `settled` holds the calls that have a result, with it.
    """

    answers: list[list[Answer]]
    missing: list[list[Block]]
    settled: list[tuple[Block, Block]]


def messages_of(items: object) -> list[Message] | None:
    """Return the messages in a list of messages, or of pairs of a message and its marks.

    Returns None if it is another list, or empty.
    """
    if not is_array(items) or not items:
        return None
    messages: list[Message] = []
    for item in items:
        message = item[0] if is_array(item) and len(item) == 2 else item
        if not is_object(message) or "role" not in message or "content" not in message:
            return None
        messages.append(message)
    return messages


def parts_of_1(messages: Iterable[Message]) -> Iterator[Part]:
    """Yield the parts of messages of AgentScope 1.x."""
    for index, message in enumerate(messages):
        content = message["content"]
        if not is_array(content):
            yield Part(index, [content])
            continue
        part = Part(index, [])
        for block in content:
            if is_object(block) and block.get("type") == RESULT:
                part.results.append(block)
                continue
            if part.results and not part.said:
                yield part
                part = Part(index, [])
            part.say(block)
        yield part


def parts_of_2(messages: Iterable[Message]) -> Iterator[Part]:
    """Yield the parts of messages of AgentScope 2.x; of one that says nothing, none."""
    for index, message in enumerate(messages):
        content = message["content"]
        part: Part | None = None
        is_hint = False
        for block in content if is_array(content) else (content,):
            kind: object = block.get("type") if is_object(block) else None
            if kind == RESULT:
                part = part or Part(index, [])
                part.results.append(block)
                continue
            # A hint is sent to the model as a message of the user.
            was_hint, is_hint = is_hint, kind == "hint"
            if part is not None and (part.results or is_hint or was_hint):
                yield part
                part = None
            part = part or Part(index, [])
            part.say(block)
        if part is not None:
            yield part


def is_plainly_whole(messages: Iterable[Message]) -> bool:
    """Whether nothing is wrong with messages of either generation, at a glance.

    It is for what is saved again and again: almost all conversations. When it says no, `is_whole`
    has to tell.
    """
    unanswered: dict[str, Block] = {}
    for message in messages:
        content = message["content"]
        is_answered = bool(unanswered)
        for block in content if is_array(content) else (content,):
            kind: object = block.get("type") if is_object(block) else None
            if kind == RESULT:
                call = unanswered.pop(identity(block), None)
                if call is None or settle(call, block) is not call:
                    return False
                is_answered = True
            elif unanswered and (is_answered or kind not in _CALLS):
                return False
            elif kind in _CALLS:
                is_answered = False
                if unanswered.setdefault(identity(block), block) is not block:
                    return False
    return not unanswered


def is_whole(parts: Iterable[Part], waiting: set[int]) -> bool:
    """Whether each call has its one result right behind it, and each result its call.

    Args:
        parts: All of them.
        waiting: The `id()`s of calls that may have no result.
    """
    unanswered: list[Block] = []
    for part in parts:
        if part.said:
            if unanswered and not _are_in(waiting, unanswered):
                return False
            unanswered = part.calls.copy()
        for result in part.results:
            place = _find_call(unanswered, result)
            if place is None:
                return False
            call = unanswered.pop(place)
            if settle(call, result) is not call:
                return False
    return _are_in(waiting, unanswered)


def _are_in(waiting: set[int], calls: list[Block]) -> bool:
    return all(id(call) in waiting for call in calls)


def match(parts: list[Part], waiting: set[int]) -> Matches:
    """Find out to which part each result belongs, wherever it stands behind its call.

    Some models' calls have the same ids in each round: a result belongs to the last such call.
    """
    matches = Matches([[] for _ in parts], [[] for _ in parts], [])
    unanswered: list[Block] = []
    askers: list[int] = []
    for number, part in enumerate(parts):
        unanswered += part.calls
        askers += [number] * len(part.calls)
        for result in part.results:
            place = _find_call(unanswered, result)
            if place is not None:
                matches.answers[askers.pop(place)].append(Answer(result, number))
                matches.settled.append((unanswered.pop(place), result))
    for number, call in zip(askers, unanswered, strict=True):
        if id(call) not in waiting:
            matches.missing[number].append(call)
    return matches


def _find_call(calls: list[Block], result: Block) -> int | None:
    """Return the index of the last call that the result can belong to."""
    wanted = identity(result)
    return next(
        (place for place in reversed(range(len(calls))) if identity(calls[place]) == wanted), None
    )


def identity(block: Block) -> str:
    """Return what a result and its call have in common."""
    return str(block.get("id"))


def settle(call: Block, result: Block | None) -> Block:
    """Return a call as it has to be beside its result, or beside none; the same one if it is."""
    changes: dict[str, Any] = {}
    state: object = call.get("state")
    # In 2.x, an agent waits for consent to a call as long as its state says so.
    if state == "asking" or (result is None and state is not None):
        changes["state"] = "finished"
    is_cut_off = result is None or result.get("state") == "interrupted"
    if is_cut_off and (given := _arguments(call)) != call.get("input"):
        changes["input"] = given
    return {**call, **changes} if changes else call


def _arguments(call: Block) -> object:
    """Return a call's arguments, which in 2.x are JSON; none if they are incomplete."""
    given: object = call.get("input")
    if call["type"] == "tool_use":
        return given if is_object(given) else {}
    try:
        return given if isinstance(given, str) and is_object(json.loads(given)) else "{}"
    except (ValueError, RecursionError):
        return "{}"
