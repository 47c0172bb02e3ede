"""Find the configuration, read it, report every fault at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ._definitions import RuntimeConfig
from ._from_mapping import tree_from_mapping
from ._from_yaml import tree_from_yaml
from ._section import read_section
from ._tree import BAD, Bad, Place, Report, StoppedReadingError, Tree

_MAX_BYTES: Final = 262_144


def load_config(
    source: str | os.PathLike[str] | Mapping[str, Any] | RuntimeConfig,
    *,
    project: Path,
    environ: Mapping[str, str],
) -> RuntimeConfig:
    """Return the checked configuration.

    Args:
        source: A file, relative to the project; a mapping of the same form; or a configuration
            made in code, which is returned as it is.
        project: The project's folder.
        environ: Where `${VAR}` is looked up.

    Raises:
        ConfigError: the configuration has faults, or the file cannot be read; holds all of them.
    """
    if isinstance(source, RuntimeConfig):
        return source
    if isinstance(source, Mapping):
        at = Place(Report("config"))
    else:
        at = Place(Report(os.fspath(source)), line=1)
    config: RuntimeConfig | Bad = BAD
    try:
        if isinstance(source, Mapping):
            tree: Tree = tree_from_mapping(source, at, environ)
        else:
            tree = tree_from_yaml(_text(project / source, at), at, environ)
        config = read_section(RuntimeConfig, tree, at)
    except StoppedReadingError:
        pass
    if config is BAD or at.report.problems:
        raise at.report.error()
    return config


def _text(path: Path, at: Place) -> str:
    """Return the text of the file; raises StoppedReadingError with the reason recorded."""
    nowhere = replace(at, line=None)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe or device may never end
            reason = "is a folder" if path.is_dir() else "is not a regular file"
            raise _stopped(nowhere, f"{reason}: {path}")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        folder = path.parent.absolute()
        raise _stopped(nowhere, f"there is no such file in {folder}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
        reason = getattr(error, "strerror", None) or str(error)
        raise _stopped(nowhere, f"cannot be read: {reason}") from None
    if len(content) > _MAX_BYTES:
        raise _stopped(nowhere, f"is larger than {_MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _stopped(replace(at, line=line), "is not UTF-8 text") from None


def _stopped(at: Place, reason: str) -> StoppedReadingError:
    at.fail(reason)
    return StoppedReadingError()
