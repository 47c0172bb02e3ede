"""Kinds of values that have parts: lists and mappings of text, free mappings, sections, slots."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from ._kinds import ANY, Kind, Schema, Shape
from ._scalars import read_json_leaf, read_text
from ._section import Section, read_section
from ._tree import BAD, Bad, Broken, Items, Leaf, Place, Table, Tree, parts_of

V = TypeVar("V")

_EXPECTED_MAPPING: Final = "expected a mapping (key: value)"


def frozen(values: Mapping[str, V] | None = None) -> Mapping[str, V]:
    """Return a read-only copy."""
    return MappingProxyType(dict(values or {}))


def empty_map() -> Mapping[str, Any]:
    """Return an empty read-only mapping, the default of those that may be left out."""
    return frozen()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextList(Kind):
    """A list of text; read as a tuple."""

    shape: Shape = ANY

    def read(self, tree: Tree, at: Place) -> object:
        if not isinstance(tree, Items):
            return at.reject("expected a list", tree)
        texts = [
            _shaped(entry.tree, self.shape, at.item(index, entry.line))
            for index, entry in enumerate(tree.items)
        ]
        return BAD if BAD in texts else tuple(texts)

    def schema(self) -> Schema:
        return {"type": "array", "items": _text_schema(self.shape)}

    def label(self) -> str:
        return "list of text"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMap(Kind):
    """A mapping of text to text."""

    names: Shape
    values: Shape

    def read(self, tree: Tree, at: Place) -> object:
        if not isinstance(tree, Table):
            return at.reject(_EXPECTED_MAPPING, tree)
        texts: dict[str, object] = {}
        for key, entry in tree.entries.items():
            place = at.key(key, entry.line)
            if re.fullmatch(self.names.pattern, key):
                texts[key] = _shaped(entry.tree, self.values, place)
            else:
                texts[key] = place.fail(self.names.reason)
        return BAD if BAD in texts.values() else frozen(texts)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{self.names.pattern}$"},
            "additionalProperties": _text_schema(self.values),
        }

    def label(self) -> str:
        return "mapping of text"


def _shaped(tree: Tree, shape: Shape, at: Place) -> str | Bad:
    if isinstance(tree, Broken):
        return BAD
    text = read_text(tree, at)
    if text is BAD or re.fullmatch(shape.pattern, text):
        return text
    return at.reject(shape.reason, tree)


def _text_schema(shape: Shape) -> Schema:
    return {"type": "string", "pattern": f"^{shape.pattern}$"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeMap(Kind):
    """A mapping of text to any JSON values; what is nested in it are plain lists and dicts."""

    def read(self, tree: Tree, at: Place) -> object:
        if not isinstance(tree, Table):
            return at.reject(_EXPECTED_MAPPING, tree)
        before = len(at.report.problems)
        values = {key: _json(e.tree, at.key(key, e.line)) for key, e in tree.entries.items()}
        return BAD if len(at.report.problems) > before or _is_broken(tree) else frozen(values)

    def schema(self) -> Schema:
        return {"type": "object"}

    def label(self) -> str:
        return "mapping"


def _json(tree: Tree, at: Place) -> object:
    if isinstance(tree, Leaf):
        return read_json_leaf(tree, at)
    if isinstance(tree, Items):
        return [_json(e.tree, at.item(index, e.line)) for index, e in enumerate(tree.items)]
    if isinstance(tree, Table):
        return {key: _json(e.tree, at.key(key, e.line)) for key, e in tree.entries.items()}
    return BAD


def _is_broken(tree: Tree) -> bool:
    return isinstance(tree, Broken) or any(_is_broken(part.tree) for part in parts_of(tree))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Kind):
    """One section."""

    has_sections: ClassVar[bool] = True

    section: type[Section]

    def read(self, tree: Tree, at: Place) -> object:
        return read_section(self.section, tree, at)

    def schema(self) -> Schema:
        return {"$ref": f"#/$defs/{self.section.__name__}"}

    def label(self) -> str:
        return "section"


@dataclass(frozen=True, slots=True)
class SlotNames:
    """Which names a slot may have; `placeholder` stands for one in the README."""

    placeholder: str
    accepts: Callable[[str], bool]
    pattern: str
    reason: str


# Taken by the methods of `runtime.models`.
_METHODS: Final = frozenset({"get", "items", "keys", "values"})


def _is_attribute(name: str) -> bool:
    is_name = name.isidentifier() and not keyword.iskeyword(name)
    return is_name and not name.startswith("_") and name not in _METHODS


ATTRIBUTE_NAMES: Final = SlotNames(
    "<slot>",
    _is_attribute,
    r"^(?!(?:get|items|keys|values)$)[^\s\x21-\x40\x5b-\x60\x7b-\x7f][^\s\x21-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f]*$",
    "a slot is named like a Python attribute: letters, digits and _, "
    "no _ or digit first, no Python keyword, none of get, items, keys, values",
)
SERVER_NAMES: Final = SlotNames(
    "<name>",
    lambda name: re.fullmatch("[a-zA-Z0-9_-]{1,64}", name) is not None,
    "^[a-zA-Z0-9_-]{1,64}$",
    "a server's name is made of 1 to 64 letters (a to z, A to Z), digits, _ and -",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots(Kind):
    """Sections under names that the user chooses."""

    has_sections: ClassVar[bool] = True

    section: type[Section]
    names: SlotNames

    def read(self, tree: Tree, at: Place) -> object:
        if not isinstance(tree, Table):
            return at.fail("expected a mapping (lines of name: settings)")
        sections: dict[str, object] = {}
        for name, entry in tree.entries.items():
            place = at.key(name, entry.line)
            if not self.names.accepts(name):
                place.fail(self.names.reason)
            sections[name] = read_section(self.section, entry.tree, place)
        return BAD if BAD in sections.values() else frozen(sections)

    def schema(self) -> Schema:
        return {
            "type": "object",
            "propertyNames": {"pattern": self.names.pattern},
            "additionalProperties": {"$ref": f"#/$defs/{self.section.__name__}"},
        }

    def label(self) -> str:
        return "mapping of sections"
