"""Kinds of values that point elsewhere: URLs, and code that is found by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from .._importing import entry_point_names
from ._kinds import Kind, Schema, nearest
from ._scalars import read_text
from ._tree import BAD, Leaf, Place, Tree

_REFERENCE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
# User names, passwords and keys travel behind these.
_SECRET_MARKS: Final = ("@", "?", "#")


def _is_from_environment(tree: Tree) -> bool:
    return isinstance(tree, Leaf) and bool(tree.env)


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
            hidden = not _is_from_environment(tree) and any(mark in text for mark in _SECRET_MARKS)
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
        return isinstance(value, str) and any(mark in value for mark in _SECRET_MARKS)


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
        guess = "" if _is_from_environment(tree) else nearest(text, known)
        reason = f'must be one of {", ".join(known)}, or "package.module:{self.attribute}"'
        return at.reject(reason, tree, guess)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": [*self.builtin]}, {"type": "string", "minLength": 1}]}

    def label(self) -> str:
        names = ", ".join(f"`{name}`" for name in self.builtin)
        return f"{names}, an entry point name or `package.module:{self.attribute}`"
