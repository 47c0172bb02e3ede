"""What the value of a key may be: how it is read, its JSON Schema, its words in the README."""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from ._scalars import read_bool, read_number, read_text
from ._tree import BAD, Leaf, Place, Tree

Schema = dict[str, Any]

# Where the loader takes `${PORT}` for a number, a choice or true and false.
FROM_ENVIRONMENT: Final[Schema] = {"$ref": "#/$defs/from_environment"}
_MAX_SECONDS: Final = 1e9


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean X?` for the nearest known name; empty when none is near."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower()[:80], by_lower, 1)
    return f"did you mean {by_lower[found[0]]}?" if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(ABC):
    """Base of the kinds of values.

    Attributes:
        doc: What the key means, in one line.
        secret: Its value is never printed.
    """

    has_sections: ClassVar[bool] = False  # they know themselves what of them is secret

    doc: str
    secret: bool = False

    @abstractmethod
    def read(self, tree: Tree, at: Place) -> object:
        """Return the value, or `BAD` with its faults recorded."""

    @abstractmethod
    def schema(self) -> Schema:
        """Return the JSON Schema of the value, without `description` and `default`."""

    @abstractmethod
    def label(self) -> str:
        """Return what may be written, in Markdown."""

    def hides(self, value: object) -> bool:
        """Whether this value must not be printed."""
        return self.secret and bool(value)


@dataclass(frozen=True, slots=True)
class Shape:
    """A pattern that text must match as a whole; `reason` says what is wrong otherwise."""

    pattern: str
    reason: str


LINE: Final = Shape(r"[^\x00-\x1f\x7f]*", "must be one line, without control characters")
TOKEN: Final = Shape(r"[\x21-\x7e]*", "must be printable ASCII, without spaces and line breaks")
HOST: Final = Shape(r"[^\s/\x00-\x1f\x7f]*", "must be a host name or an IP address, nothing more")
HEADER: Final = Shape(
    r"([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)?",
    "must be one line of printable ASCII, without spaces at its ends",
)
ANY: Final = Shape(r"[^\x00]*", "must not hold a NUL character")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Kind):
    """Text of a shape; `empty` text is a fault, or stands for the default."""

    shape: Shape = LINE
    empty: Literal["fault", "default"] = "fault"
    path: bool = False

    def read(self, tree: Tree, at: Place) -> object:
        if self.path and isinstance(tree, Leaf) and isinstance(tree.value, Path):
            tree = Leaf(str(tree.value))
        text = read_text(tree, at)
        if text is BAD:
            return BAD
        if not text and self.empty == "fault":
            return at.reject("must not be empty", tree)
        if not re.fullmatch(self.shape.pattern, text):
            return at.reject(self.shape.reason, tree)
        return text

    def schema(self) -> Schema:
        schema: Schema = {"type": "string", "pattern": f"^{self.shape.pattern}$"}
        return {**schema, "minLength": 1} if self.empty == "fault" else schema

    def label(self) -> str:
        return "path" if self.path else "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Kind):
    """One of some words."""

    options: tuple[str, ...]

    def read(self, tree: Tree, at: Place) -> object:
        if isinstance(tree, Leaf) and isinstance(tree.value, str) and tree.value in self.options:
            return str.__str__(tree.value)
        guess = ""
        if isinstance(tree, Leaf) and isinstance(tree.value, str) and not tree.env:
            guess = nearest(tree.value, self.options)
        return at.reject(f"must be one of {', '.join(self.options)}", tree, guess)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": [*self.options]}, FROM_ENVIRONMENT]}

    def label(self) -> str:
        return ", ".join(f"`{option}`" for option in self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Kind):
    """True or false."""

    def read(self, tree: Tree, at: Place) -> object:
        return read_bool(tree, at)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "boolean"}, FROM_ENVIRONMENT]}

    def label(self) -> str:
        return "`true`, `false`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Kind):
    """A whole number of a unit, within limits that are allowed themselves."""

    unit: str
    at_least: int = 0
    at_most: int = 10**15

    def read(self, tree: Tree, at: Place) -> object:
        wanted = (
            f"expected a whole number of {self.unit}" if self.unit else "expected a whole number"
        )
        value = read_number(tree, at, wanted=wanted)
        if value is BAD:
            return BAD
        if value < self.at_least:
            return at.reject(f"must be at least {self.at_least}", tree)
        if value > self.at_most:
            return at.reject(f"must be at most {self.at_most}", tree)
        return value if isinstance(value, int) else at.reject(wanted, tree)

    def schema(self) -> Schema:
        limits = {"minimum": self.at_least, "maximum": self.at_most}
        return {"anyOf": [{"type": "integer", **limits}, FROM_ENVIRONMENT]}

    def label(self) -> str:
        limit = f"{self.at_least} to {self.at_most}" if self.at_most < 10**15 else ""
        return " ".join(("whole number", limit or f"from {self.at_least}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds(Kind):
    """A time; `zero` says whether there may be none, `at_least` how short it may be."""

    zero: bool = False
    at_least: float = 0.0

    def read(self, tree: Tree, at: Place) -> object:
        value = read_number(tree, at, wanted="expected a number of seconds")
        if value is BAD:
            return BAD
        if value < self.at_least or (value == 0 and not self.zero):
            is_included = self.zero or self.at_least
            limit = f"at least {self.at_least:g}" if is_included else "above 0"
            return at.reject(f"must be {limit} second{'s' * (self.at_least != 1)}", tree)
        if value > _MAX_SECONDS:
            return at.reject(f"must be at most {_MAX_SECONDS:.0f} seconds", tree)
        return float(value)

    def schema(self) -> Schema:
        is_included = self.zero or self.at_least
        lowest = {"minimum" if is_included else "exclusiveMinimum": self.at_least or 0}
        return {"anyOf": [{"type": "number", **lowest, "maximum": _MAX_SECONDS}, FROM_ENVIRONMENT]}

    def label(self) -> str:
        if self.zero or self.at_least:
            return f"seconds, from {self.at_least:g}"
        return "seconds, above 0"
