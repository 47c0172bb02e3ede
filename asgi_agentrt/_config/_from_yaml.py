"""YAML text to a tree, from the parser's events: bounded, and with a line for everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, NoReturn

import yaml
from yaml.reader import ReaderError

from ._env import expand
from ._plain import meaning
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

_TAGS: Final = {
    "scalar": ("!", "tag:yaml.org,2002:str"),
    "sequence": ("!", "tag:yaml.org,2002:seq"),
    "mapping": ("!", "tag:yaml.org,2002:map"),
}
# Pieces of the parser's messages, and what they mean to somebody who does not write parsers.
_SYNTAX: Final = (
    (r"'\t'", "indent with spaces, a tab cannot stand here"),
    ("stream", "the quote or bracket that opens here is never closed"),
    ("mapping values are not", "put text that holds ': ' in quotes, or check the indentation"),
    ("<block end>", "the indentation does not fit the lines above"),
    ("<document start>", "this does not belong to the value above"),
    ("could not find expected ':'", "expected key: value"),
    ("cannot start any token", "text that begins with %, @ or ` needs quotes"),
    (
        "expected ',' or",
        "a comma or a closing bracket is missing; text with , ? [ ] { } needs quotes",
    ),
    ("tag handle", "tags are not supported: put text that begins with ! in quotes"),
)


class _Node(NamedTuple):
    """A tree with what a reader would meet in it: number of values, levels."""

    tree: Tree
    size: int = 1
    height: int = 1


_BROKEN: Final = _Node(Broken())


def tree_from_yaml(text: str, at: Place, environ: Mapping[str, str]) -> Tree:
    """Read one YAML document; faults are recorded at their lines.

    Raises:
        StoppedReadingError: the rest cannot be read; the reason is recorded.
    """
    try:
        return _Builder(text, environ).document(at)
    except yaml.MarkedYAMLError as error:
        _stop(at, *_syntax_fault(error))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _stop(at, line, "holds a control character, which YAML does not allow")


def _syntax_fault(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Return line and reason; of the file's own words not one is repeated, they may be secret."""
    problem = str(error.problem or error.context)
    mark = error.problem_mark or error.context_mark
    if "stream" in problem:  # at its end nothing can be seen of where it began
        mark = error.context_mark or mark
    known = (reason for piece, reason in _SYNTAX if piece in problem)
    return (mark.line + 1 if mark else 1), f"YAML syntax: {next(known, problem)}"


def _stop(at: Place, line: int | None, reason: str) -> NoReturn:
    replace(at, path="", line=line).fail(reason)
    raise StoppedReadingError


class _Builder:
    """Turns events into trees; `values` counts what a reader of all of them would visit."""

    def __init__(self, text: str, environ: Mapping[str, str]) -> None:
        # The stubs leave the events of yaml.parse() untyped.
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self.environ = environ
        self.anchors: dict[str, _Node | None] = {}
        self.values = 0
        self.line = 1

    def document(self, at: Place) -> Tree:
        tree: Tree = Leaf(None)
        documents = 0
        while not isinstance(event := self.next(at), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    _stop(at, _line(event), "a second document begins here; there can be only one")
                tree = self.node(self.next(at), at, 1).tree
        return tree

    def next(self, at: Place) -> Any:
        try:
            event = next(self.events)
        except (ValueError, OverflowError):  # the parser does not check "\\UFFFFFFFF" itself
            _stop(at, self.line, "YAML syntax: there is an impossible escape or number near here")
        self.line = _line(event)
        return event

    def node(self, event: Any, at: Place, depth: int) -> _Node:
        """Build the value that begins with `event`; `at` has its place, key's line included."""
        if depth > MAX_DEPTH:
            _stop(at, _line(event), TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, at, depth)
        self.count(1, event, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event, at)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(event, at, depth)
        else:
            node = self.mapping(event, at, depth)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def count(self, values: int, event: Any, at: Place) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            _stop(at, _line(event), TOO_MANY)

    def alias(self, event: Any, at: Place, depth: int) -> _Node:
        # The name is not repeated: it may be an unquoted secret that begins with *.
        if event.anchor not in self.anchors:
            at.fail("this alias has no anchor before it: put text that begins with * in quotes")
            return _BROKEN
        node = self.anchors[event.anchor]
        if node is None:
            at.fail("this alias stands inside of what it refers to")
            return _BROKEN
        self.count(node.size, event, at)
        if depth + node.height > MAX_DEPTH:
            _stop(at, _line(event), TOO_DEEP)
        return node

    def tag_is_wrong(self, event: Any, kind: str, at: Place) -> bool:
        if event.tag is None or event.tag in _TAGS[kind]:
            return False
        at.fail("tags are not supported: put text that begins with ! in quotes")
        return True

    def scalar(self, event: Any, at: Place) -> _Node:
        if self.tag_is_wrong(event, "scalar", at):
            return _BROKEN
        expanded = expand(event.value, self.environ)
        for fault in expanded.faults:
            at.fail(fault)
        if expanded.faults:
            return _BROKEN
        plain = event.style is None and event.tag is None and expanded.text == event.value
        return _Node(Leaf(expanded.text, plain and not expanded.names, expanded.names))

    def sequence(self, event: Any, at: Place, depth: int) -> _Node:
        items: list[Entry] = []
        size = height = 1
        wrong = self.tag_is_wrong(event, "sequence", at)
        while not isinstance(start := self.next(at), yaml.SequenceEndEvent):
            line = _line(start)
            node = self.node(start, at.item(len(items), line), depth + 1)
            items.append(Entry(line, node.tree))
            size += node.size
            height = max(height, node.height + 1)
        return _BROKEN if wrong else _Node(Items(tuple(items)), size, height)

    def mapping(self, event: Any, at: Place, depth: int) -> _Node:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        size = height = 1
        wrong = self.tag_is_wrong(event, "mapping", at)
        while not isinstance(start := self.next(at), yaml.MappingEndEvent):
            key = self.key(start, at, depth)
            place = at if key is None else at.key(key, _line(start))
            value_start = self.next(place)
            node = self.node(value_start, place, depth + 1)
            size += node.size
            height = max(height, node.height + 1)
            if key == "<<" and start.style is None:
                merged = self.merge(merged, node.tree, value_start, place)
            elif key is not None and key in entries:
                place.fail(f"the key is given twice, first in line {entries[key].line}")
            elif key is not None:
                entries[key] = Entry(place.line, node.tree)
        if wrong:
            return _BROKEN
        return _Node(Table({**merged, **entries}), size + len(merged), height)

    def key(self, event: Any, at: Place, depth: int) -> str | None:
        """Return a key, or None when it is no text (the key is consumed all the same)."""
        if isinstance(event, yaml.ScalarEvent) and event.tag in {None, *_TAGS["scalar"]}:
            text = str(event.value)
            if event.anchor is not None:
                self.anchors[event.anchor] = _Node(Leaf(text))
            if event.style is not None or event.tag or meaning(text) in {"text", "disputed"}:
                return text
        else:
            self.node(event, replace(at, line=_line(event)), depth + 1)
        replace(at, line=_line(event)).fail("a key must be plain text: put it in quotes")
        return None

    def merge(
        self, merged: dict[str, Entry], tree: Tree, event: Any, at: Place
    ) -> dict[str, Entry]:
        """Return `merged` with what `<<` brings; what stands first wins."""
        sources = [item.tree for item in tree.items] if isinstance(tree, Items) else [tree]
        for source in sources:
            if isinstance(source, Table):
                self.count(len(source.entries), event, at)
                merged = {**source.entries, **merged}
            elif not isinstance(source, Broken):
                at.reject("expected a mapping, or a list of mappings, to merge", source)
        return merged


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
