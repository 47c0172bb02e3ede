"""Named resources with attribute and index access: `runtime.models.main`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Slots(Mapping[str, Any]):
    """A read-only mapping of slot names to resources; names are attributes too.

    Raises:
        KeyError, AttributeError: no such slot; the text lists those that are there.
    """

    def __init__(self, kind: str, slots: Mapping[str, Any]) -> None:
        self._kind = kind
        self._slots = dict(slots)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._slots[name]
        except KeyError:
            raise KeyError(self._missing(name)) from None

    def __getattr__(self, name: str) -> Any:
        # Names that start with "_" are Python's own questions (copy, pickle), never slots; some
        # are asked before there is anything in here.
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._slots:
            raise AttributeError(self._missing(name))
        return self._slots[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    def __repr__(self) -> str:
        return f"<{self._kind}s: {', '.join(self._slots) or 'none'}>"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._slots]

    def _missing(self, name: object) -> str:
        there = ", ".join(self._slots) or "none"
        return f"no {self._kind} {name!r} in agentapp.yaml; there: {there}"
