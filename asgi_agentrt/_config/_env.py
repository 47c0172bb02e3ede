"""`${VAR}` in text: a pure function over a mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_MAX_CHARACTERS = 1_048_576
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<inside>[^}]*)(?P<end>\}?)")


@dataclass(frozen=True, slots=True)
class Expanded:
    """Text with its variables filled in, their names, and what is wrong with them."""

    text: str
    names: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def expand(text: str, environ: Mapping[str, str]) -> Expanded:
    """Fill in `${VAR}`, once: a value that holds `${` is not looked at again.

    `$${` gives `${`, and a `$` elsewhere is itself. Faults name the variable and nothing else of
    the text, which may be a secret.
    """
    parts: list[str] = []
    names: dict[str, None] = {}
    faults: dict[str, None] = {}
    position = 0
    for mark in _MARK.finditer(text):
        parts.append(text[position : mark.start()])
        position = mark.end()
        if mark["escaped"]:
            parts.append("${")
            continue
        name = mark["inside"]
        if (fault := _fault(name, mark["end"])) is not None:
            faults[fault] = None
        elif name not in environ:
            faults[f"environment variable {name} is not set"] = None
        else:
            names[name] = None
            parts.append(environ[name])
    parts.append(text[position:])
    if sum(map(len, parts)) > _MAX_CHARACTERS:
        return Expanded("", (*names,), ("is too long once its variables are filled in",))
    return Expanded("".join(parts), (*names,), (*faults,))


def _fault(inside: str, end: str) -> str | None:
    """Say what is wrong with what stands in the braces, or None."""
    if not end:
        return "${ is not closed by }; write $${ for a literal ${"
    if _NAME.fullmatch(inside):
        return None
    if not inside:
        return "${} names no environment variable; write $${ for a literal ${"
    name = _NAME.match(inside)
    if name is not None and inside[name.end()] in ":-=?+":
        return (
            f"there is no default syntax: write ${{{name[0]}}} and set {name[0]} in the environment"
        )
    return "${…} holds no valid variable name (letters, digits and _); write $${ for a literal ${"
