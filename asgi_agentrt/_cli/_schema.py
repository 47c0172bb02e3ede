"""`agentrt schema`: what editors want to know about agentapp.yaml."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .._config import json_schema

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage] (its only name)


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of agentapp.yaml",
        description="Print the JSON Schema of agentapp.yaml, for editors that complete and check.",
        allow_abbrev=False,
    )
    parser.set_defaults(command=run)


def run(_: argparse.Namespace) -> int:
    """Print the schema."""
    print(json.dumps(json_schema(), indent=2))
    return 0
