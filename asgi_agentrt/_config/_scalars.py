"""Leaves of the tree as text, numbers and booleans; each records its own fault."""

from __future__ import annotations

import math
from typing import Final

from . import _plain
from ._tree import Bad, Leaf, Place, Tree

_MAX_BITS: Final = 64


def read_text(tree: Tree, at: Place) -> str | Bad:
    """Return text; a number is a fault, since its spelling would be lost on other readers."""
    if not isinstance(tree, Leaf) or not isinstance(tree.value, str):
        native = isinstance(tree, Leaf) and isinstance(tree.value, (int, float))
        return at.reject("expected text", tree, "put it in quotes" if native else "")
    # A str subclass (an enum, say) would print itself in ways of its own.
    text = str.__str__(tree.value)
    if tree.plain and _plain.meaning(text) not in {"text", "disputed"}:
        return at.reject("expected text", tree, "" if tree.is_null else "put it in quotes")
    try:
        text.encode()
    except UnicodeEncodeError:
        return at.fail("holds characters that are not valid Unicode")
    return text


def read_bool(tree: Tree, at: Place) -> bool | Bad:
    """Return true or false."""
    wanted = "expected true or false"
    if not isinstance(tree, Leaf):
        return at.reject(wanted, tree)
    if isinstance(tree.value, bool):
        return tree.value
    if isinstance(tree.value, str):
        value = _plain.truth(tree.value)
        if value is not None and (tree.plain or tree.env):
            return value
        if value is not None:
            return at.reject(wanted, tree, "remove the quotes")
    return at.reject(wanted, tree)


def read_number(tree: Tree, at: Place, *, wanted: str) -> int | float | Bad:
    """Return a finite decimal number."""
    if not isinstance(tree, Leaf) or isinstance(tree.value, bool):
        return at.reject(wanted, tree)
    value: int | float | None = None
    if isinstance(tree.value, int):
        value = int(tree.value)
    elif isinstance(tree.value, float):
        value = float(tree.value)
    elif isinstance(tree.value, str):
        text = str.__str__(tree.value)
        value = _plain.number(text)
        if value is not None and not (tree.plain or tree.env):
            return at.reject(wanted, tree, "remove the quotes")
        if tree.plain and _plain.meaning(text) in {"odd number", "disputed"}:
            return at.reject(wanted, tree, "write a plain decimal number")
    # An int may be too large for a float, which math.isfinite would raise for.
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return at.reject(wanted, tree)
    return value


def read_json_leaf(leaf: Leaf, at: Place) -> object:
    """Return what a leaf means where any JSON value may stand."""
    value = leaf.value
    if leaf.is_null:
        return None
    means = _plain.meaning(value) if isinstance(value, str) and leaf.plain else "text"
    if means in {"odd number", "disputed"}:
        hint = "put it in quotes, or write a decimal, true or false"
        return at.reject("can be read in two ways", leaf, hint)
    if isinstance(value, bool) or means == "bool":
        return read_bool(leaf, at)
    if isinstance(value, str) and means == "text":
        return read_text(leaf, at)
    if not isinstance(value, (str, int, float)):
        return at.reject("expected a JSON value", leaf)
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return at.reject("expected a number of at most 64 bits", leaf)
    return read_number(leaf, at, wanted="expected a finite number")
