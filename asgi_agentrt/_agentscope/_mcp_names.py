"""Names of tools: what models accept, and no two alike."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]")


def clean_name(name: str) -> str:
    """Return the name with what models' APIs refuse replaced."""
    return _NOT_ALLOWED.sub("_", name) or "_"


def free_name(taken: Container[str], *wanted: str) -> str:
    """Return the first of the wanted names that is free, or the last one with a number."""
    return next(name for name in _candidates(wanted) if name not in taken)


def _candidates(wanted: tuple[str, ...]) -> Iterator[str]:
    yield from wanted
    number = 2
    while True:
        yield f"{wanted[-1]}_{number}"
        number += 1
