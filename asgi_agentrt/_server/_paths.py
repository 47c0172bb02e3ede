"""Where in our app a request is meant to go, whatever the host did to its path.

ASGI says that `path` includes `root_path`, the mount point. Hosts and servers in the wild produce
several other shapes; `locate` reads all that were observed.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from .._types import Scope


class Location(NamedTuple):
    """`path` within our app, without a trailing slash (the top is "/"), and where that is mounted.

    `base` is what a URL needs in front of `path`.
    """

    path: str
    base: str


def locate(scope: Scope) -> Location | None:
    """Return where a request goes; None if the host sent us what is not ours."""
    path: str = scope.get("path") or ""
    root = (scope.get("root_path") or "").rstrip("/")
    if "path_remaining" in scope:
        return _below_channels(path, root, scope["path_remaining"])
    if path and not path.startswith("/"):
        return None  # a look-alike: "/agentx/health" came through as "x/health"
    hidden = _cut_by_host(scope, path)
    tail = _overlap(root, path)
    # `hidden == root`: the host did cut its prefix off; what looks like it is a route of ours.
    if tail and (hidden is None or hidden != root == tail):
        return Location(_trim(path[len(tail) :]), root)
    if hidden is None:
        return Location(_trim(path), root)
    if _is_below(hidden, root):
        return Location(_trim(path), hidden)  # the full path shows the server's own prefix too
    return Location(_trim(path), root if root.endswith(hidden) else root + hidden)


def _below_channels(path: str, root: str, remaining: str) -> Location:
    """Channels' URLRouter leaves `path` and `root_path` alone and says what it did not match."""
    base = path[: len(path) - len(remaining)].rstrip("/")
    if root and not _is_below(base, root):
        base = root + base
    return Location(_trim("/" + remaining.lstrip("/")), base)


def _cut_by_host(scope: Scope, path: str) -> str | None:
    """Return the prefix that the client's path has and `path` lacks, or None if there is none."""
    raw = scope.get("raw_path")
    if not isinstance(raw, bytes):
        return None
    full = unquote(raw.decode("latin-1").partition("?")[0]).rstrip("/")
    kept = path.rstrip("/")
    if len(full) > len(kept) and full.endswith(kept):
        return full[: len(full) - len(kept)]
    return None


def _overlap(root: str, path: str) -> str:
    """Return the longest tail of `root`, in whole segments, that `path` begins with."""
    tail = root
    while tail:
        if _is_below(path, tail):
            return tail
        cut = tail.find("/", 1)
        tail = tail[cut:] if cut > 0 else ""
    return ""


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def _trim(path: str) -> str:
    return path.rstrip("/") or "/"
