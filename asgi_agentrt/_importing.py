"""Find things by name: modules of extras, `package.module:attribute`, entry points."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from .exceptions import MissingExtraError


def require(module: str, *, extra: str, needed_for: str) -> ModuleType:
    """Import a module that one of our extras installs.

    Raises:
        MissingExtraError: it is not installed; the text holds the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the module is there, something that it needs is not: its own words say what
        raise MissingExtraError(
            f'{needed_for} needs {error.name}: pip install "asgi-agentrt[{extra}]"'
        ) from error


def load_object(reference: str) -> Any:
    """Return what `package.module:attribute` names; the attribute may be dotted.

    Raises:
        ValueError: the text is not such a reference, or the attribute is missing.
        ImportError: the module cannot be imported.
    """
    module_name, colon, attribute = reference.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f'"{reference}" is not of the form "package.module:attribute"')
    found: Any = importlib.import_module(module_name)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ValueError(f'"{module_name}" has no attribute "{attribute}"')
        found = getattr(found, part)
    return found


def entry_point_names(group: str) -> list[str]:
    """Return the names that installed distributions offer in an entry point group, sorted."""
    from importlib.metadata import entry_points  # noqa: PLC0415  only plug-ins need it

    return sorted({point.name for point in entry_points(group=group)})


def load_entry_point(group: str, name: str) -> Any | None:
    """Return what the entry point names, or None when no distribution offers it."""
    from importlib.metadata import entry_points  # noqa: PLC0415  only plug-ins need it

    for point in entry_points(group=group, name=name):
        return point.load()
    return None
