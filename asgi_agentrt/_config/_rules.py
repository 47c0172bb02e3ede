"""What the keys of one section ask of each other, as data: for the reader and for the schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ._tree import BAD

_NOTHING: list[Any] = [None, "", 0, [], {}]


class RuleFault(NamedTuple):
    """A key, and what is wrong with it."""

    key: str
    reason: str


class Rule(Protocol):
    """A condition between keys."""

    def fault(self, values: Mapping[str, Any]) -> RuleFault | None:
        """Return what is wrong; values with faults of their own are `BAD` and never judged."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the condition as a JSON Schema for the section's mapping."""
        ...


@dataclass(frozen=True, slots=True)
class When:
    """`key` is one of `among`; without `among`, `key` is given at all.

    `name` says it in words when listing `among` would be too long.
    """

    key: str
    among: tuple[str, ...] = ()
    name: str = ""

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it does for these values."""
        value = values[self.key]
        if value is BAD:
            return False
        return value in self.among if self.among else bool(value)

    def words(self) -> str:
        """Return it as a half sentence."""
        if self.name:
            return self.name
        return f"{self.key} is {' or '.join(self.among)}" if self.among else f"{self.key} is set"

    def schema(self) -> dict[str, Any]:
        """Return it as a JSON Schema."""
        wanted = {"enum": [*self.among]} if self.among else {"not": {"enum": _NOTHING}}
        return {"required": [self.key], "properties": {self.key: wanted}}


@dataclass(frozen=True, slots=True)
class Needs:
    """`key` must be given."""

    key: str
    when: When

    def fault(self, values: Mapping[str, Any]) -> RuleFault | None:
        """Return what is wrong."""
        if values[self.key] or not self.when.holds(values):
            return None
        return RuleFault(self.key, f"is required when {self.when.words()}")

    def schema(self) -> dict[str, Any]:
        """Return it as a JSON Schema."""
        given = {"required": [self.key], "properties": {self.key: {"not": {"enum": _NOTHING}}}}
        return {"if": self.when.schema(), "then": given}


@dataclass(frozen=True, slots=True)
class Refuses:
    """`key` must not be given."""

    key: str
    when: When

    def fault(self, values: Mapping[str, Any]) -> RuleFault | None:
        """Return what is wrong."""
        if values[self.key] is BAD or not values[self.key] or not self.when.holds(values):
            return None
        return RuleFault(self.key, f"has no meaning when {self.when.words()}")

    def schema(self) -> dict[str, Any]:
        """Return it as a JSON Schema."""
        return {"if": self.when.schema(), "then": {"properties": {self.key: {"enum": _NOTHING}}}}


@dataclass(frozen=True, slots=True)
class Begins:
    """The text of `key` must begin with one of `starts`."""

    key: str
    starts: tuple[str, ...]
    when: When

    def fault(self, values: Mapping[str, Any]) -> RuleFault | None:
        """Return what is wrong."""
        value = values[self.key]
        if not isinstance(value, str) or value.startswith(self.starts):
            return None
        if not self.when.holds(values):
            return None
        starts = " or ".join(self.starts)
        return RuleFault(self.key, f"must begin with {starts} when {self.when.words()}")

    def schema(self) -> dict[str, Any]:
        """Return it as a JSON Schema."""
        pattern = rf"^({'|'.join(map(re.escape, self.starts))})|\$\{{"
        return {"if": self.when.schema(), "then": {"properties": {self.key: {"pattern": pattern}}}}
