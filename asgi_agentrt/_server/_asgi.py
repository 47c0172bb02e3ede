"""`AgentRuntimeASGI`: a project as an ASGI app, however it is hosted."""

from __future__ import annotations

import contextvars
import itertools
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from anyio.lowlevel import RunVar

from .._config import RuntimeConfig
from .._runtime import OnRestart, Runtime
from .._types import ASGIApp, Receive, Scope, Send
from ..exceptions import LifecycleError
from ._access import Identity
from ._instance import Instance, Options
from ._lifespan import serve_lifespan
from ._router import handle_http

_numbers = itertools.count(1)


class AgentRuntimeASGI:
    """An AgentScope project as an ASGI 3 app, to serve by itself or to mount in another.

    However it is hosted, it starts: with the server's lifespan as a root app, with the host's
    through `lifespan`, `attach` or `AgentRuntimeMiddleware`, and otherwise with its first request.
    Nothing happens before; making one reads no file.

    Args:
        project: The project's folder; relative to the working directory.
        config: A file name relative to the project, a mapping of the same shape, or a
            `RuntimeConfig`.
        app: An `AgentApp` class or instance, or an async generator function
            `async def app(msg, ctx)`, instead of the project's `app.py`.
        platform: Whether to report to the platform that the configuration names.
        on_restart: Called, in the event loop, when the platform asks for a restart; it may be
            async. Without it, a restart is a reload: a guest does not exit its host.
        identity: Given a request (Starlette's `HTTPConnection`), returns the id of its user, or
            None for nobody, who gets 401; it may be async. `asgi_agentrt.host_user` takes the
            user from the host's own login. Without it, `metadata.user_id` is believed.
    """

    # Channels' URLRouter takes a `path()` that leads here for a prefix, and cuts it off.
    _path_routing = True

    def __init__(  # noqa: PLR0913  each is an option of its own
        self,
        project: str | os.PathLike[str] = ".",
        *,
        config: str | os.PathLike[str] | Mapping[str, Any] | RuntimeConfig = "agentapp.yaml",
        app: object = None,
        platform: bool = True,
        on_restart: OnRestart | None = None,
        identity: Identity | None = None,
    ) -> None:
        self._options = Options(
            project=Path(project).absolute(),
            config=config,
            app=app,
            platform=platform,
            on_restart=on_restart,
            identity=identity,
            context=contextvars.copy_context(),
        )
        # Older releases of anyio find these by their names.
        self._instances: RunVar[Instance] = RunVar(f"asgi_agentrt {next(_numbers)}")

    def _instance(self) -> Instance:
        """Return what belongs to the running event loop; nothing is shared between loops."""
        instance = self._instances.get(None)
        if instance is None:
            instance = Instance(self._options)
            self._instances.set(instance)
        return instance

    @property
    def runtime(self) -> Runtime:
        """The runtime in the running event loop.

        Raises:
            LifecycleError: it was not started here.
        """
        runtime = self._instance().runtime
        if runtime is None:
            raise LifecycleError("the agent runtime was not started in this event loop")
        return runtime

    async def start(self) -> None:
        """Start, for hosts with start and stop hooks; any task may do it.

        Raises:
            ConfigError, ProjectError, StartupError: it did not start (with
                `server.startup_failure: degrade` this is logged, and requests get 503).
        """
        await self._instance().open("composed", by_default="fail")

    async def stop(self) -> None:
        """Undo one `start`; the last one drains and closes. Any task may do it."""
        await self._instance().close()

    def lifespan(self, host: object = None) -> AbstractAsyncContextManager[None]:
        """Return a context manager that holds the runtime open, for the lifespan of a host.

        Fits `FastAPI(lifespan=agent.lifespan)` and `async with agent.lifespan():` alike. A start
        that fails is logged and requests get 503 until it succeeds, unless
        `server.startup_failure` is `fail`.
        """
        return self._lifespan()

    @asynccontextmanager
    async def _lifespan(self) -> AsyncGenerator[None]:
        instance = self._instance()
        await instance.open("composed", by_default="degrade")
        try:
            yield
        finally:
            await instance.close()

    def attach(self, parent: Any, path: str) -> None:
        """Mount this at `path` of a Starlette or FastAPI app and join the app's lifespan.

        Unlike a plain mount, `path` itself is answered too, without a redirect. The runtime is up
        before the host's own start-up and down after its shutdown.

        Raises:
            TypeError: `parent` is no such app.
            ValueError: `path` is empty.
        """
        from ._attach import attach  # noqa: PLC0415  Starlette's router: only who attaches needs it

        attach(parent, path, self, self.lifespan)

    async def reload(self) -> None:
        """Read the project again and switch over without losing a request.

        Raises:
            LifecycleError: it is not running.
            ConfigError, ProjectError, StartupError: the new one did not open; the old one stays.
        """
        await self.runtime.reload()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await handle_http(self._instance(), scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.serve_lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1003})
        else:
            raise NotImplementedError(f"ASGI scope type {scope['type']!r}")

    async def serve_lifespan(
        self, scope: Scope, receive: Receive, send: Send, *, host: ASGIApp | None = None
    ) -> None:
        """Speak the lifespan protocol, on behalf of `host` as well when one is given."""
        await serve_lifespan(self._instance(), scope, receive, send, host=host)
