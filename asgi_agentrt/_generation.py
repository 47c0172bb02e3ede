"""A generation: everything that is opened from one reading of the configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ._agentscope import Adapter, McpServer, Toolbox, load_adapter, require_asyncio
from ._concurrency import absorb_native_cancellation, run_bounded
from ._config import McpServerConfig, RuntimeConfig, load_config
from ._message import Msg, WireMessage, to_wire
from ._project import LoadedApp, adopt_app, load_project, users_traceback
from ._providers import is_builtin_provider, open_model
from ._session import Sessions, open_store
from ._shelf import Close, Open, Shelf
from ._slots import Slots
from .exceptions import StartupError

logger = logging.getLogger(__name__)

# How long one resource may take to close before it is given up.
CLOSE_TIMEOUT_S = 10.0
# A server that may be missing does not hold up the start for its whole time-out.
OPTIONAL_SERVER_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a project comes from; read again at each reload.

    Attributes:
        project: The project's folder, absolute.
        config: A file name relative to it, a mapping, or a finished configuration.
        app: Used instead of `app.py` when given.
    """

    project: Path
    config: str | os.PathLike[str] | Mapping[str, Any] | RuntimeConfig = "agentapp.yaml"
    app: object = None

    def read_config(self) -> RuntimeConfig:
        """Read the configuration; an app that comes without a project may go without one too.

        Blocks on the file system.

        Raises:
            ConfigError: it has faults.
        """
        is_optional = self.app is not None and self.config == "agentapp.yaml"
        if is_optional and not (self.project / "agentapp.yaml").exists():
            return load_config({}, project=self.project, environ=os.environ)
        return load_config(self.config, project=self.project, environ=os.environ)

    def load_app(self) -> LoadedApp:
        """Load the app; runs the user's code.

        Raises:
            ProjectError: it cannot be used.
        """
        return load_project(self.project) if self.app is None else adopt_app(self.app)


class Scope:
    """Whose code runs: a generation's hooks, or one run, which gets a toolkit of its own."""

    __slots__ = ("_is_run", "_toolkit", "generation")

    def __init__(self, generation: Generation, *, is_run: bool) -> None:
        self.generation = generation
        self._is_run = is_run
        self._toolkit: Any = None

    @property
    def tools(self) -> Any:
        """The toolkit that this code may change without anybody else noticing."""
        if not self._is_run:
            return self.generation.toolbox.toolkit
        if self._toolkit is None:
            self._toolkit = self.generation.toolbox.for_run()
        return self._toolkit


current_scope: ContextVar[Scope | None] = ContextVar("asgi_agentrt_scope", default=None)


class Generation:
    """The resources of one configuration: opened in order, closed in reverse, by one task.

    Attributes:
        number: 1 for the first, one more at each reload.
        owner: The runtime that this belongs to; its generations share a shelf.
        settled: Set when it is open, or `error` says why it is not.
        closed: Set when everything is closed.
        opening: What is being opened, for who wants to say what a start hangs at.
    """

    def __init__(
        self, source: Source, config: RuntimeConfig, *, number: int, owner: object, shelf: Shelf
    ) -> None:
        self.source = source
        self.config = config
        self.number = number
        self.owner = owner
        self.models: Slots = Slots("model", {})
        self.servers: tuple[McpServer, ...] = ()
        self.sessions: Sessions
        self.app: LoadedApp
        self.settled: anyio.Event = anyio.Event()
        self.closed: anyio.Event = anyio.Event()
        self.error: Exception | SystemExit | None = None
        self.opening: str = "config"
        self._shelf = shelf
        self._retired = anyio.Event()
        self._life = anyio.CancelScope()
        self._adapter: Adapter | None = None
        self._toolbox: Toolbox | None = None
        self._runs = 0
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def is_degraded(self) -> bool:
        """Whether a part that may be missing is missing."""
        return self.sessions.state != "up" or any(server.state != "up" for server in self.servers)

    @property
    def adapter(self) -> Adapter:
        """AgentScope's adapter; imports AgentScope at first use."""
        if self._adapter is None:
            self._adapter = load_adapter()
        return self._adapter

    @property
    def toolbox(self) -> Toolbox:
        """The tools of all MCP servers."""
        if self._toolbox is None:
            self._toolbox = self.adapter.toolbox(self.servers)
        return self._toolbox

    # ---- for runs ----------------------------------------------------------------------------

    def message_in(self, message: WireMessage) -> Any:
        """Make the message of the class that the app asks for."""
        if self.app.message_class == "dict":
            return message
        if self.app.message_class == "ours":
            return Msg.from_dict(message)
        return self.adapter.message_in(message)

    def outgoing(self) -> Callable[[object], list[WireMessage]]:
        """Return a function that turns what the app yields into wire messages; one for each run."""
        convert: Callable[[object], list[WireMessage]] | None = None

        def outgoing(item: object) -> list[WireMessage]:
            nonlocal convert
            if self._is_agentscope(item):
                if convert is None:
                    convert = self.adapter.outgoing()
                return convert(item)
            return [to_wire(item)]

        return outgoing

    def _is_agentscope(self, item: object) -> bool:
        if isinstance(item, str | Msg | dict):
            return False
        if any(base.__module__.startswith("agentscope.") for base in type(item).__mro__):
            return self.adapter.owns(item)
        return False

    def enter_run(self, session_id: str) -> None:
        """Prepare the current context for a run of a session."""
        current_scope.set(Scope(self, is_run=True))
        if self._adapter is not None:
            self._adapter.enter_run(session_id)

    def acquire(self) -> None:
        """Count a run that uses this generation."""
        self._runs += 1
        if self._runs == 1:
            self._idle = anyio.Event()

    def release(self) -> None:
        """Count a run out again."""
        self._runs -= 1
        if self._runs == 0:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until no run uses this generation."""
        await self._idle.wait()

    # ---- opening and closing -----------------------------------------------------------------

    def retire(self) -> None:
        """Ask the owning task to close everything."""
        self._retired.set()

    def abandon(self) -> None:
        """Give up opening; what is open already is closed."""
        self._life.cancel()

    async def hold(self) -> None:
        """Open everything, wait until retired, close everything: the body of the owning task.

        `settled` is set once it is open or `error` says why not; then everything is closed again.
        The scope is opened before the resources, and shielded while they close: a shield around
        the closing alone would not nest with the scopes that resources leave open.
        """
        current_scope.set(Scope(self, is_run=False))
        try:
            with self._life as life:
                async with AsyncExitStack() as stack:
                    try:
                        await self._open(stack)
                        self.settled.set()
                        await self._retired.wait()
                    except anyio.get_cancelled_exc_class():
                        absorb_native_cancellation()  # the event loop goes down
                        if not self.settled.is_set():
                            raise
                        life.shield = True
                        # The runs were cancelled with us, and clean up with what is closed here.
                        with anyio.move_on_after(CLOSE_TIMEOUT_S):
                            await self.wait_idle()
                    finally:
                        life.shield = True
        except (Exception, SystemExit) as error:  # noqa: BLE001  told to who waits for `settled`
            # An app that exits as it starts or stops does not take its host with it.
            self.error = error
        finally:
            if self.error is None and not self.settled.is_set():
                self.error = StartupError(self.opening, "was given up")
            self.settled.set()
            self.closed.set()

    async def _open(self, stack: AsyncExitStack) -> None:
        await self._open_models(stack)
        await self._open_servers(stack)
        self.opening = "session"
        self.sessions = await self._take(stack, "session", self.config.session, self._open_sessions)
        self.opening = "app.py"
        self.app = await self._load_app()
        stack.callback(self.app.unload)
        if self.app.message_class == "agentscope":
            await self._load_adapter()
        self.opening = "on_startup"
        try:
            await self.app.on_startup()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}\n{users_traceback(error)}"
            raise StartupError("on_startup", reason) from error
        self._push_closing(stack, "on_shutdown", self.app.on_shutdown)

    async def _load_adapter(self) -> None:
        require_asyncio()
        # Importing AgentScope 1.x takes a second, which a host's event loop need not feel.
        self._adapter = await anyio.to_thread.run_sync(load_adapter, abandon_on_cancel=True)

    async def _load_app(self) -> LoadedApp:
        """Load the app in a thread; one that hangs is left alone there when we are cancelled."""
        is_given_up = False

        def load() -> LoadedApp:
            app = self.source.load_app()
            if is_given_up:
                app.unload()
            return app

        try:
            return await anyio.to_thread.run_sync(load, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            is_given_up = True
            raise

    async def _open_models(self, stack: AsyncExitStack) -> None:
        if any(is_builtin_provider(model.provider) for model in self.config.models.values()):
            await self._load_adapter()
        models: dict[str, Any] = {}
        for name, config in self.config.models.items():
            self.opening = f"models.{name}"
            models[name] = await self._take(
                stack, f"models.{name}", config, partial(open_model, name, config)
            )
        self.models = Slots("model", models)

    async def _open_servers(self, stack: AsyncExitStack) -> None:
        if not self.config.mcp_servers:
            return
        await self._load_adapter()
        servers: list[McpServer] = []
        for name, config in self.config.mcp_servers.items():
            open_it = partial(self._open_server, name, config)
            servers.append(await self._take(stack, f"mcp_servers.{name}", config, open_it))
        self.servers = tuple(servers)
        for server in servers:
            if server.required:
                self.opening = f"mcp_servers.{server.name}"
                await server.settled()
                if server.state != "up":
                    raise StartupError(f"mcp_servers.{server.name}", server.reason or "is down")
        with anyio.move_on_after(OPTIONAL_SERVER_WAIT_S):
            for server in servers:
                await server.settled()
        self._toolbox = self.adapter.toolbox(servers)

    async def _open_server(self, name: str, config: McpServerConfig) -> tuple[McpServer, Close]:
        try:
            server = self.adapter.mcp_server(name, config, cwd=str(self.source.project))
        except ValueError as error:
            raise StartupError(f"mcp_servers.{name}", str(error)) from error
        server.start()
        return server, server.aclose

    async def _open_sessions(self) -> tuple[Sessions, Close]:
        opened = open_store(self.config.session, self.source.project)
        store = await opened.__aenter__()
        return Sessions(store), partial(opened.__aexit__, None, None, None)

    async def _take(self, stack: AsyncExitStack, name: str, config: object, open_it: Open) -> Any:
        """Open a resource, or go on with the one that another generation opened from the same."""
        resource, give_back = await self._shelf.take((name, config), open_it)
        self._push_closing(stack, name, give_back)
        return resource

    def _push_closing(self, stack: AsyncExitStack, what: str, close: Callable[[], Any]) -> None:
        stack.push_async_callback(
            partial(run_bounded, close, seconds=CLOSE_TIMEOUT_S, what=f"closing {what}")
        )
