"""A mapping given in code to the same tree that a YAML file makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._env import expand
from ._tree import (
    MAX_DEPTH,
    MAX_VALUES,
    TOO_DEEP,
    TOO_MANY,
    Broken,
    Entry,
    Items,
    Leaf,
    Place,
    StoppedReadingError,
    Table,
    Tree,
)


def tree_from_mapping(
    source: Mapping[Any, Any], at: Place, environ: Mapping[str, str] | None
) -> Table:
    """Read a mapping; `environ` fills in `${VAR}`, None leaves text alone.

    Raises:
        StoppedReadingError: it is too large or refers to itself; the reason is recorded.
    """
    return _Builder(environ).table(source, at, 1)


class _Builder:
    def __init__(self, environ: Mapping[str, str] | None) -> None:
        self.environ = environ
        self.values = 0

    def node(self, value: object, at: Place, depth: int) -> Tree:
        self.values += 1
        if depth > MAX_DEPTH or self.values > MAX_VALUES:
            at.fail(TOO_DEEP if depth > MAX_DEPTH else TOO_MANY)
            raise StoppedReadingError
        if isinstance(value, Mapping):
            return self.table(value, at, depth)  # pyright: ignore[reportUnknownArgumentType] - checked key by key
        if isinstance(value, (list, tuple)):
            items: list[Any] = [*value]  # pyright: ignore[reportUnknownVariableType] - checked one by one
            return Items(
                tuple(
                    Entry(None, self.node(item, at.item(index, None), depth + 1))
                    for index, item in enumerate(items)
                )
            )
        return self.leaf(value, at)

    def table(self, value: Mapping[Any, Any], at: Place, depth: int) -> Table:
        entries: dict[str, Entry] = {}
        for key, part in value.items():
            if isinstance(key, str):
                name = str.__str__(key)
                entries[name] = Entry(None, self.node(part, at.key(name, None), depth + 1))
            else:
                at.fail(f"a key must be text, got a {type(key).__name__}")
        return Table(entries)

    def leaf(self, value: object, at: Place) -> Tree:
        if self.environ is None or not isinstance(value, str):
            return Leaf(value)
        expanded = expand(str.__str__(value), self.environ)
        for fault in expanded.faults:
            at.fail(fault)
        return Broken() if expanded.faults else Leaf(expanded.text, env=expanded.names)
