"""`agentrt init`: a new project that runs at once."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import CommandError
from ._template import FILES

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage] (its only name)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "init",
        help="make a new project",
        description="Make a folder with a project that runs at once. Nothing is overwritten.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", type=_name, help="the folder to make")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the project.

    Raises:
        CommandError: there is something in the way, or the folder cannot be written to.
    """
    folder = Path(arguments.name)
    try:
        folder.mkdir(exist_ok=True)
        if any(folder.iterdir()):
            raise CommandError(f"{folder}: is there already and not empty; nothing was changed")
        for name, text in FILES.items():
            with (folder / name).open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except FileExistsError as error:
        raise CommandError(f"{error.filename}: is there already; it was not changed") from None
    except OSError as error:
        raise CommandError(f"{folder}: cannot be made: {error.strerror}") from None
    print(f"made {folder}; try it:\n  agentrt run {folder}")
    print('  agentrt invoke http://127.0.0.1:8080 "Hello, agent" --session s1')
    return 0


def _name(given: str) -> str:
    if not _NAME.fullmatch(given) or given.endswith("."):
        raise argparse.ArgumentTypeError(
            f"{given!r} is no name for a project: use letters, digits, '-', '_' and '.',"
            " a letter or digit first"
        )
    return given
