"""What the value of a key may be: how it is read, its JSON Schema, its words in the README."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from .._importing import entry_point_names
from ._scalars import read_bool, read_number, read_text
from ._tree import BAD, Leaf, Place, Tree

Schema = dict[str, Any]

# Where the loader takes `${PORT}` for a number, a choice or true and false.
FROM_ENVIRONMENT: Final[Schema] = {"$ref": "#/$defs/from_environment"}
_MAX_SECONDS: Final = 1e9
_REFERENCE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean X?` for the nearest known name; empty when none is near."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower()[:80], by_lower, 1)
    return f"did you mean {by_lower[found[0]]}?" if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Base of the kinds of values.

    Attributes:
        doc: What the key means, in one line.
        secret: Its value is never printed.
    """

    has_sections: ClassVar[bool] = False  # they know themselves what of them is secret

    doc: str
    secret: bool = False

    def read(self, tree: Tree, at: Place) -> object:
        """Return the value, or `BAD` with its faults recorded."""
        raise NotImplementedError

    def schema(self) -> Schema:
        """Return the JSON Schema of the value, without `description` and `default`."""
        raise NotImplementedError

    def label(self) -> str:
        """Return what may be written, in Markdown."""
        raise NotImplementedError

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


def _has_env(tree: Tree) -> bool:
    return isinstance(tree, Leaf) and bool(tree.env)


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
        value = read_number(tree, at, wanted=f"expected a whole number{_of(self.unit)}")
        if value is BAD:
            return BAD
        if isinstance(value, float):
            if value.is_integer() or abs(value) < self.at_most:
                return at.reject(f"expected a whole number{_of(self.unit)}", tree)
            return at.reject(f"must be at most {self.at_most}", tree)
        if value < self.at_least:
            return at.reject(f"must be at least {self.at_least}", tree)
        return (
            value if value <= self.at_most else at.reject(f"must be at most {self.at_most}", tree)
        )

    def schema(self) -> Schema:
        limits = {"minimum": self.at_least, "maximum": self.at_most}
        return {"anyOf": [{"type": "integer", **limits}, FROM_ENVIRONMENT]}

    def label(self) -> str:
        limit = f"{self.at_least} to {self.at_most}" if self.at_most < 10**15 else ""
        return " ".join(("whole number", limit or f"from {self.at_least}"))


def _of(unit: str) -> str:
    return f" of {unit}" if unit else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds(Kind):
    """A time; `zero` says whether there may be none."""

    zero: bool = False

    def read(self, tree: Tree, at: Place) -> object:
        value = read_number(tree, at, wanted="expected a number of seconds")
        if value is BAD:
            return BAD
        if value < 0 or (value == 0 and not self.zero):
            limit = "at least 0" if self.zero else "above 0"
            return at.reject(f"must be {limit} seconds", tree)
        if value > _MAX_SECONDS:
            return at.reject(f"must be at most {_MAX_SECONDS:.0f} seconds", tree)
        return float(value)

    def schema(self) -> Schema:
        lowest = {"minimum" if self.zero else "exclusiveMinimum": 0}
        return {"anyOf": [{"type": "number", **lowest, "maximum": _MAX_SECONDS}, FROM_ENVIRONMENT]}

    def label(self) -> str:
        return "seconds, from 0" if self.zero else "seconds, above 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Url(Kind):
    """A URL of some schemes (none listed: any); `prefix`: paths are added to it."""

    schemes: tuple[str, ...] = ("http", "https")
    empty: Literal["fault", "default"] = "fault"
    prefix: bool = False

    def read(self, tree: Tree, at: Place) -> object:
        text = read_text(tree, at)
        if text is BAD or (not text and self.empty == "default"):
            return text
        if (reason := self._fault(text)) is not None:
            # User names, passwords and keys travel in these parts.
            hidden = not _has_env(tree) and any(mark in text for mark in "@?#")
            return at.fail(reason) if hidden else at.reject(reason, tree)
        return text

    def _fault(self, text: str) -> str | None:
        if re.search(r"[\s\x00-\x1f\x7f]", text):
            return "must be a URL without spaces and line breaks"
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname, parts.port
        except ValueError:
            return "must be a URL: its host or port is not valid"
        if not parts.scheme or not text[len(parts.scheme) :].startswith("://"):
            return f"must be a URL such as {(self.schemes or ('scheme',))[-1]}://…"
        if self.schemes and parts.scheme not in self.schemes:
            return f"must be a URL that begins with {' or '.join(f'{s}://' for s in self.schemes)}"
        if "http" in self.schemes and not host:
            return "must be a URL with a host"
        if self.prefix and (parts.query or parts.fragment):
            return "must be a URL without ? and #, since paths are added to it"
        return None

    def schema(self) -> Schema:
        start = f"({'|'.join(self.schemes)})" if self.schemes else "[A-Za-z][A-Za-z0-9+.-]*"
        empty = "|^$" if self.empty == "default" else ""
        # A variable may hold any part of it, the scheme too.
        return {"type": "string", "pattern": rf"^{start}://|\$\{{{empty}"}

    def label(self) -> str:
        return f"URL ({', '.join(self.schemes)})" if self.schemes else "URL"

    def hides(self, value: object) -> bool:
        return isinstance(value, str) and any(mark in value for mark in "@?#")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin(Kind):
    """A built-in name, the name of an entry point, or `package.module:attribute`."""

    builtin: tuple[str, ...]
    group: str
    attribute: str

    def read(self, tree: Tree, at: Place) -> object:
        text = read_text(tree, at)
        if text is BAD or text in self.builtin:
            return text
        if ":" in text:
            wanted = f'expected the form "package.module:{self.attribute}"'
            return text if _REFERENCE.fullmatch(text) else at.reject(wanted, tree)
        installed = entry_point_names(self.group)
        if text in installed:
            return text
        known = [*self.builtin, *(name for name in installed if name not in self.builtin)]
        guess = "" if _has_env(tree) else nearest(text, known)
        reason = f'must be one of {", ".join(known)}, or "package.module:{self.attribute}"'
        return at.reject(reason, tree, guess)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": [*self.builtin]}, {"type": "string", "minLength": 1}]}

    def label(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.builtin)
        return f"{names}, an entry point name or `package.module:{self.attribute}`"
