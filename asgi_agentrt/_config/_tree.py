"""A configuration before it is understood: values, where they stand, and the faults found.

A YAML file and a mapping given in code become the same tree, so that one reader serves both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, TypeAlias

from ..exceptions import ConfigError, Problem
from ._plain import meaning

MAX_DEPTH: Final = 50
MAX_VALUES: Final = 20_000
TOO_DEEP: Final = f"is nested more than {MAX_DEPTH} levels deep"
TOO_MANY: Final = f"holds more than {MAX_VALUES} values, counting every use of an alias"

_SHOWN_CHARACTERS = 40
_PLAIN_KEY = re.compile(r"[\w-]{1,60}")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value without parts.

    Attributes:
        value: The text of a YAML scalar, or any Python object of a mapping given in code.
        plain: An unquoted YAML scalar: `value` is text that may mean something else.
        env: The environment variables that its text came from.
    """

    value: object
    plain: bool = False
    env: tuple[str, ...] = ()

    @property
    def is_null(self) -> bool:
        """Whether it stands for "nothing given"."""
        if self.plain:
            return isinstance(self.value, str) and meaning(self.value) == "null"
        return self.value is None


@dataclass(frozen=True, slots=True)
class Items:
    """A list; each item with its line."""

    items: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; each value with the line of its key."""

    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Broken:
    """A value whose fault is recorded already."""


Tree: TypeAlias = Leaf | Items | Table | Broken


@dataclass(frozen=True, slots=True)
class Entry:
    """A part of a list or mapping; `line` counts from 1, None in a mapping given in code."""

    line: int | None
    tree: Tree


class Bad(Enum):
    """What stands in for a value that has a fault."""

    BAD = "bad"


BAD: Final = Bad.BAD


class StoppedReadingError(Exception):
    """The rest of the source cannot be read; the reason is recorded already."""


@dataclass(frozen=True, slots=True)
class Report:
    """The faults of one source; `file` is the name that its user knows it by."""

    file: str
    problems: list[Problem] = field(default_factory=list[Problem])

    def error(self) -> ConfigError:
        """Return all faults as one error, in file order."""
        return ConfigError(*sorted(self.problems, key=lambda problem: problem.line or 0))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands; `secret` keeps it out of the texts of faults."""

    report: Report
    path: str = ""
    line: int | None = None
    secret: bool = False

    def key(self, key: str, line: int | None) -> Place:
        """Return the place of a value in this mapping."""
        name = key if _PLAIN_KEY.fullmatch(key) else shortened(key)
        return replace(self, path=f"{self.path}.{name}" if self.path else name, line=line)

    def item(self, index: int, line: int | None) -> Place:
        """Return the place of an item of this list."""
        return replace(self, path=f"{self.path}[{index}]", line=line)

    def fail(self, reason: str) -> Bad:
        """Record a fault of this value."""
        self.report.problems.append(Problem(self.report.file, self.line, self.path, reason))
        return BAD

    def reject(self, reason: str, tree: Tree, hint: str = "") -> Bad:
        """Record a fault with the value that is at fault, unless that must stay secret."""
        hides = False
        if isinstance(tree, Leaf) and not tree.env and not tree.is_null:
            hides = self.secret or tree.value == ""
        got = "" if hides else f", got {shown(tree)}"
        return self.fail(f"{reason}{got}{hint and f': {hint}'}")


def shortened(text: str) -> str:
    """Return text in quotes, without control characters, cut when it is long."""
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 1] + "…"
    return repr(text)


def shown(tree: Tree) -> str:
    """Name a value in a fault; what came from the environment is never repeated."""
    if not isinstance(tree, Leaf):
        return "a mapping" if isinstance(tree, Table) else "a list"
    if tree.env:
        return f"<from {', '.join(f'${{{name}}}' for name in tree.env)}>"
    return _shown_value(tree)


def _shown_value(leaf: Leaf) -> str:
    value = leaf.value
    if leaf.is_null:
        return "null"
    if isinstance(value, str):
        text = str.__str__(value)
        is_text = not leaf.plain or meaning(text) == "text"
        return shortened(text) if is_text or len(text) > _SHOWN_CHARACTERS else text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**_SHOWN_CHARACTERS):
        return f"{value:.15g}" if isinstance(value, float) else f"{value:d}"
    return f"a value of type {type(value).__name__}"


def environment_names(tree: Tree) -> set[str]:
    """Return the environment variables that a value, or any part of it, came from."""
    if isinstance(tree, Leaf):
        return set(tree.env)
    return {name for part in parts_of(tree) for name in environment_names(part.tree)}


def parts_of(tree: Tree) -> tuple[Entry, ...]:
    """Return the items of a list, or the values of a mapping."""
    if isinstance(tree, Table):
        return tuple(tree.entries.values())
    return tree.items if isinstance(tree, Items) else ()
