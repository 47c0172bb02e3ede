"""`from asgi_agentrt import runtime`: one import that means the right runtime everywhere."""

from __future__ import annotations

import os
from typing import Any

from .._config import RuntimeConfig
from .._generation import current_scope
from .._session import Sessions
from .._slots import Slots
from ..exceptions import LifecycleError
from ._runtime import Runtime, alive_runtimes


class CurrentRuntime:
    """The runtime that serves this code.

    Inside an invocation or a hook it is that app's; elsewhere the only one that is alive (in this
    event loop, where one runs).

    Raises:
        LifecycleError: none is alive, or several are and this code belongs to none of them.
    """

    @property
    def is_initialized(self) -> bool:
        """Whether there is such a runtime, and it is open."""
        try:
            return self._find().is_initialized
        except LifecycleError:
            return False

    @property
    def models(self) -> Slots:
        """The model slots of agentapp.yaml: `runtime.models.main`, `runtime.models["main"]`."""
        return self._find().models

    @property
    def tools(self) -> Any:
        """One AgentScope Toolkit with the tools of all MCP servers."""
        return self._find().tools

    @property
    def session(self) -> Sessions:
        """The session store."""
        return self._find().session

    @property
    def config(self) -> RuntimeConfig:
        """The configuration that the running generation was opened from."""
        return self._find().config

    @property
    def app(self) -> Any:
        """The user's app."""
        return self._find().app

    async def initialize(
        self,
        config_path: str | os.PathLike[str] = "agentapp.yaml",
        project_path: str | os.PathLike[str] | None = None,
    ) -> None:
        """Open a project here, without serving it.

        Args:
            config_path: The configuration, relative to the project folder.
            project_path: The project folder; None means the working directory.

        Raises:
            LifecycleError: a runtime is alive already.
            AgentRuntimeError: it did not start; nothing stays open.
        """
        if alive_runtimes():
            raise LifecycleError("a runtime is initialized already; shut it down first")
        opened = Runtime()
        await opened.initialize(config_path, project_path)
        _opened_here.add(opened)

    async def shutdown(self) -> None:
        """Close what `initialize` opened; fine when nothing is open."""
        for opened in list(_opened_here):
            if opened in alive_runtimes():
                _opened_here.discard(opened)
                await opened.shutdown()

    def _find(self) -> Runtime:
        if (scope := current_scope.get()) is not None and isinstance(
            scope.generation.owner, Runtime
        ):
            return scope.generation.owner
        alive = alive_runtimes()
        if len(alive) == 1:
            return alive[0]
        if not alive:
            raise LifecycleError(
                "no runtime is initialized; start the app, or `await runtime.initialize()`"
            )
        raise LifecycleError(
            f"{len(alive)} runtimes are alive and this code belongs to none of them;"
            " use the one you mean: `agent.runtime`"
        )


_opened_here: set[Runtime] = set()
runtime: CurrentRuntime = CurrentRuntime()
"""The runtime that serves this code."""
