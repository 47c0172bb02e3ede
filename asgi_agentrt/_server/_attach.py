"""Add an agent to a Starlette or FastAPI app: its route and its lifespan, in one line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.routing import Match, Mount

from .._types import ASGIApp, Receive, Scope, Send


class ExactMount(Mount):
    """A mount that answers its own path too, instead of redirecting `/agent` to `/agent/`.

    Such a redirect loses the body of a POST with many clients, and WebSockets.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path itself and everything below it."""
        match, child = super().matches(scope)
        if match is Match.NONE and scope["type"] in ("http", "websocket"):
            # Only the bare path itself is made to match by a slash.
            match, child = super().matches({**scope, "path": scope["path"] + "/"})
        return match, child

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to the mounted app."""
        await self.app(scope, receive, send)


def attach(
    parent: Any,
    path: str,
    app: ASGIApp,
    lifespan: Callable[[Any], AbstractAsyncContextManager[None]],
) -> None:
    """Mount `app` at `path` of a Starlette or FastAPI app and wrap the app's lifespan in ours.

    Raises:
        TypeError: `parent` has no router with routes and a lifespan.
        ValueError: `path` is empty.
    """
    router = getattr(parent, "router", parent)
    host_lifespan = getattr(router, "lifespan_context", None)
    if host_lifespan is None or not hasattr(router, "routes"):
        raise TypeError(
            f"attach() needs a Starlette or FastAPI app, not {type(parent).__qualname__};"
            " AgentRuntimeMiddleware wraps any other"
        )
    if not path.strip("/"):
        raise ValueError('attach() needs a path such as "/agent"')

    @asynccontextmanager
    async def both(parent: Any) -> AsyncGenerator[Any]:
        async with lifespan(parent), host_lifespan(parent) as state:
            yield state

    # In front: a catch-all route of the host, such as its static files, must not hide us.
    router.routes.insert(0, ExactMount("/" + path.strip("/"), app=app))
    router.lifespan_context = both
