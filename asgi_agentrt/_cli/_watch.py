"""`agentrt run --reload`: switch over when files of the project change."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path

from .._server import AgentRuntimeASGI
from ..exceptions import AgentRuntimeError

logger = logging.getLogger(__name__)

# Written by running projects, not by their authors.
_NOT_SOURCES = (r"\.log(\.\d+)?$", r"\.(db|sqlite3?)(-(wal|shm|journal))?$", r"\.tmp$")


async def reload_on_change(agent: AgentRuntimeASGI, project: Path, sessions: Path) -> None:
    """Reload after each change, until cancelled.

    Args:
        agent: What is being served.
        project: Where changes count.
        sessions: Where they do not.
    """
    watchfiles = importlib.import_module("watchfiles")
    sources = watchfiles.DefaultFilter(ignore_paths=[sessions])
    not_sources = watchfiles.DefaultFilter(
        ignore_dirs=(), ignore_entity_patterns=_NOT_SOURCES, ignore_paths=()
    )

    def counts(change: object, path: str) -> bool:
        return bool(sources(change, path) and not_sources(change, path))

    async for changes in watchfiles.awatch(project, watch_filter=counts):
        names = ", ".join(sorted({Path(path).name for _, path in changes})[:3])
        logger.info("%s changed, reloading", names)
        try:
            await agent.reload()
        except AgentRuntimeError as error:
            logger.error("the reload failed, the last good version serves on: %s", error)
