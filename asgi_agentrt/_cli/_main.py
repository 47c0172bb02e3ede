"""`agentrt`: which command, and how it ends."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from ..exceptions import AgentRuntimeError
from . import _init, _invoke, _run, _schema, _validate

_FAILED = 1
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; None means those of the process.

    Returns:
        The exit code: 0, 1 for a failure, 130 after Ctrl-C. A wrong usage leaves with
        SystemExit(2) instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except AgentRuntimeError as error:
        print(f"agentrt: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output is gone; the interpreter would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agentrt",
        description="Run, check and call agent projects.",
        epilog="Exit codes: 0 all is well, 1 it failed, 2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"agentrt {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (_run, _validate, _init, _invoke, _schema):
        module.add_parser(commands)
    return parser


def _version() -> str:
    try:
        return version("asgi-agentrt")
    except PackageNotFoundError:  # the sources alone
        return "unknown"
