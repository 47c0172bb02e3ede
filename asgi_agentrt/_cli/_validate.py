"""`agentrt validate`: every fault of a project, without serving it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from .._config import load_config
from .._project import load_project
from .._runtime import Runtime
from ..exceptions import AgentRuntimeError
from ._errors import project_folder

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage] (its only name)


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "validate",
        help="check a project and name every fault",
        description="Check the configuration and app.py of a project and name every fault.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "project_path", nargs="?", default=".", help="the project's folder (default: this one)"
    )
    parser.add_argument(
        "--config",
        default="agentapp.yaml",
        metavar="FILE",
        help="the configuration, relative to the project (default: agentapp.yaml)",
    )
    parser.add_argument(
        "--connect",
        action="store_true",
        help="also open models, MCP servers and the session store, start the app, and close all",
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Print all faults, or that there are none."""
    project = project_folder(arguments.project_path)
    faults = _faults(project, arguments.config)
    if not faults and arguments.connect:
        faults = anyio.run(_connect, project, arguments.config)
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        return 1
    print(f"{project}: no faults found")
    return 0


def _faults(project: Path, config: str) -> list[AgentRuntimeError]:
    faults: list[AgentRuntimeError] = []
    try:
        load_config(config, project=project, environ=os.environ)
    except AgentRuntimeError as error:
        faults.append(error)
    try:
        load_project(project).unload()
    except AgentRuntimeError as error:
        faults.append(error)
    return faults


async def _connect(project: Path, config: str) -> list[AgentRuntimeError]:
    """Open everything, say what came of it, close everything."""
    try:
        async with Runtime(project, config=config, platform=False) as runtime:
            if (generation := runtime.generation) is not None:
                for slot in generation.models:
                    print(f"models.{slot}: open")
                for server in generation.servers:
                    print(f"mcp_servers.{server.name}: {_state(server.state, server.reason)}")
                print(f"session: {generation.sessions.state}")
    except AgentRuntimeError as error:
        return [error]
    return []


def _state(state: str, reason: str | None) -> str:
    return f"{state} ({reason})" if reason else state
