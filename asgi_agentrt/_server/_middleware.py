"""`AgentRuntimeMiddleware`: an agent in front of any ASGI app."""

from __future__ import annotations

import os
from typing import Any

from .._types import ASGIApp, Receive, Scope, Send
from ._asgi import AgentRuntimeASGI


class AgentRuntimeMiddleware:
    """Serves an agent at `path` and hands everything else to `host`, untouched.

    It is meant to be the outermost app: it answers the server's lifespan, starts the agent and
    then the host, and stops them in the opposite order. Hosts that speak no lifespan, such as
    Django, are fine.

    Args:
        host: Any ASGI 3 app.
        agent: An `AgentRuntimeASGI`, or the folder of a project.
        path: The prefix, matched in whole segments: `/agent` is not `/agents`.
        options: Passed on to `AgentRuntimeASGI` when `agent` is a folder.

    Raises:
        ValueError: `path` is empty.
        TypeError: options were given together with a finished agent.
    """

    def __init__(
        self,
        host: ASGIApp,
        agent: AgentRuntimeASGI | str | os.PathLike[str],
        *,
        path: str = "/agent",
        **options: Any,
    ) -> None:
        if not path.strip("/"):
            raise ValueError('path must be a prefix such as "/agent"')
        self.agent: AgentRuntimeASGI
        if isinstance(agent, AgentRuntimeASGI):
            if options:
                raise TypeError(f"{', '.join(options)}: give these to AgentRuntimeASGI")
            self.agent = agent
        else:
            self.agent = AgentRuntimeASGI(agent, **options)
        self._host = host
        self._prefix = "/" + path.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self.agent.serve_lifespan(scope, receive, send, host=self._host)
        elif scope["type"] in ("http", "websocket") and self._is_ours(scope):
            root = (scope.get("root_path") or "").rstrip("/")
            await self.agent({**scope, "root_path": root + self._prefix}, receive, send)
        else:
            await self._host(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        """Whether the path lies below our prefix; servers differ in showing their own in it."""
        path: str = scope["path"]
        root = (scope.get("root_path") or "").rstrip("/")
        if root and (path == root or path.startswith(root + "/")):
            path = path[len(root) :]
        return path == self._prefix or path.startswith(self._prefix + "/")
