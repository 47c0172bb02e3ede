"""Find out which generation of AgentScope is installed, and import its adapter when asked to."""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import cast

from ..exceptions import MissingExtraError, StartupError
from ._adapter import Adapter, Generation

_INSTALL = 'pip install "asgi-agentrt[{}]"'
_EXTRAS = {1: "agentscope1", 2: "agentscope"}


def installed_generation() -> Generation | None:
    """Return the installed AgentScope's major version, None when there is none; imports nothing.

    Raises:
        StartupError: it is a version that we do not know.
    """
    version = _installed_version()
    if version is None:
        return None
    match version.partition(".")[0]:
        case "1":
            return 1
        case "2":
            return 2
        case _:
            raise StartupError("agentscope", f"version {version} is not supported, 1.x and 2.x are")


def _installed_version() -> str | None:
    from importlib import metadata  # noqa: PLC0415  only who uses AgentScope needs it

    try:
        return metadata.version("agentscope")
    except metadata.PackageNotFoundError:
        return None


def load_adapter() -> Adapter:
    """Import AgentScope and return the adapter of its generation; 1.x takes about a second.

    Raises:
        MissingExtraError: AgentScope is not installed; the text holds the line that installs it.
        StartupError: it is installed and cannot be imported; names what is missing.
    """
    generation = installed_generation()
    if generation is None:
        install = _INSTALL.format(_EXTRAS[2])
        raise MissingExtraError(f"this needs AgentScope: {install}")
    try:
        module = importlib.import_module(f"{__package__}._v{generation}")
    except ImportError as error:
        version = _installed_version()
        install = _INSTALL.format(_EXTRAS[generation])
        raise StartupError(
            "agentscope", f"version {version} cannot be imported ({error}): {install}"
        ) from error
    return cast(Adapter, module.adapter)


def require_asyncio() -> None:
    """Refuse to use AgentScope anywhere but under asyncio.

    Raises:
        StartupError: the current event loop is another, trio's for instance.
    """
    try:
        inside = asyncio.current_task() is not None
    except RuntimeError:  # no asyncio event loop runs in this thread
        inside = False
    if not inside:
        raise StartupError("agentscope", "AgentScope needs asyncio; this event loop is another")


def quiet_logging() -> None:
    """Hand AgentScope's log records to the root logger: it prints them itself otherwise.

    For a program of its own, after `load_adapter()`; in a host this is the host's affair.
    """
    logger = logging.getLogger("as")
    logger.handlers.clear()
    logger.propagate = True
