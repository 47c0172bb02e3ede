"""`agentrt run`: serve one project, in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import logging
import os
import sys
from typing import TYPE_CHECKING

from .._config import RuntimeConfig, load_config
from .._importing import require
from ._errors import CommandError, project_folder
from ._serve import Serving, serve

if TYPE_CHECKING:
    from argparse import _SubParsersAction  # pyright: ignore[reportPrivateUsage] (its only name)

logger = logging.getLogger(__name__)

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "run",
        help="serve a project",
        description="Serve a project: POST /invoke and GET /health. SIGTERM and Ctrl-C let "
        "running invocations finish, then end it with exit code 0.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "project_path", nargs="?", default=".", help="the project's folder (default: this one)"
    )
    parser.add_argument(
        "--port", type=_port, metavar="N", help="instead of server.port; 0 takes a free one"
    )
    parser.add_argument("--host", metavar="H", help="instead of server.host")
    parser.add_argument(
        "--config",
        default="agentapp.yaml",
        metavar="FILE",
        help="the configuration, relative to the project (default: agentapp.yaml)",
    )
    parser.add_argument(
        "--no-platform", action="store_true", help="do not report to the configured platform"
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much is written to stderr (default: info)",
    )
    parser.add_argument(
        "--reload",
        action="store_true",
        help="switch to the new code and configuration when files of the project change",
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes, or the platform asks for a restart.

    Raises:
        MissingExtraError: uvicorn is not installed.
        ConfigError, ProjectError, StartupError: the project has faults.
        CommandError: the address cannot be used.
    """
    project = project_folder(arguments.project_path)
    require("uvicorn", extra="server", needed_for="agentrt run")
    if arguments.reload and importlib.util.find_spec("watchfiles") is None:
        raise CommandError("--reload needs watchfiles: pip install watchfiles")
    config = load_config(arguments.config, project=project, environ=os.environ)
    _set_up_logging(arguments.log_level)
    host = config.server.host if arguments.host is None else arguments.host
    port = config.server.port if arguments.port is None else arguments.port
    _warn_of_strangers(host, arguments.config, config)
    return serve(
        Serving(
            project=project,
            config_file=arguments.config,
            config=config,
            host=host,
            port=port,
            platform=not arguments.no_platform,
            reload=arguments.reload,
        )
    )


def _port(given: str) -> int:
    try:
        port = int(given)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{given!r} is not a port: a number from 0 to 65535")
    return port


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format=_LOG_FORMAT, stream=sys.stderr)
    if level != "debug":
        # A line for each heartbeat, and for each step of the server's own start.
        for name in ("httpx", "httpcore", "uvicorn.error"):
            logging.getLogger(name).setLevel(logging.WARNING)


def _warn_of_strangers(host: str, config_file: str, config: RuntimeConfig) -> None:
    if config.server.api_key is None and not _is_loopback(host):
        logger.warning(
            "everybody who reaches %s may use this agent: set server.api_key in %s",
            host,
            config_file,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
