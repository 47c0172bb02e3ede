"""How a command says that it failed."""

from __future__ import annotations

from pathlib import Path

from ..exceptions import AgentRuntimeError


class CommandError(AgentRuntimeError):
    """The command failed; the text is all that its user gets to see."""


def project_folder(given: str) -> Path:
    """Return the folder of a project, absolute.

    Raises:
        CommandError: there is no such folder.
    """
    folder = Path(given).absolute()
    if not folder.is_dir():
        raise CommandError(f"{folder}: no such folder; give the path of a project")
    return folder
