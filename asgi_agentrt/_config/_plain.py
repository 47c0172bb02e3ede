"""What an unquoted YAML scalar means.

YAML 1.1 (PyYAML) and 1.2 (editors) read some words differently: `off`, `0800`, `1_000`, `12:30`,
`1e3`. So the text is kept as written, and the key that it stands under decides what is wanted.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Meaning: TypeAlias = Literal["null", "bool", "int", "float", "odd number", "disputed", "text"]

_MAX_DIGITS = 40

_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_WORDS = ("yes", "no", "on", "off")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
# Numbers in one version of YAML at least, and not the ones that they look like.
_ODD = re.compile(
    r"[-+]?(?:0[0-9_]+|0[xX][0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_DISPUTED = re.compile(
    r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
)


def meaning(text: str) -> Meaning:
    """Say what kind of value an unquoted scalar is; `disputed` is text in YAML 1.2 only."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return "null"
    if text in _TRUE or text in _FALSE:
        return "bool"
    if _INT.fullmatch(text):
        return "int"
    if _FLOAT.fullmatch(text):
        return "float"
    if _ODD.fullmatch(text):
        return "odd number"
    if text.lower() in _WORDS or _DISPUTED.fullmatch(text):
        return "disputed"
    return "text"


def truth(text: str) -> bool | None:
    """Return what a word says about true and false; None when it is no such word."""
    word = text.lower()
    if text in _TRUE or word in {"yes", "on"}:
        return True
    if text in _FALSE or word in {"no", "off"}:
        return False
    return None


def number(text: str) -> int | float | None:
    """Return a decimal number, a float when it has a great many digits; None when it is none."""
    if _INT.fullmatch(text):
        return int(text) if len(text) <= _MAX_DIGITS else float(text[:300])
    if _FLOAT.fullmatch(text):
        return float(text)
    return None
