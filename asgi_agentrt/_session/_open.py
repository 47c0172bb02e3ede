"""From the configuration to an open session store."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

from .._config import SESSION_BACKEND_GROUP, SESSION_BACKENDS, SessionConfig
from .._importing import entry_point_names, load_entry_point, load_object
from ..exceptions import AgentRuntimeError, StartupError
from ._agentscope_store import AgentScopeStore
from ._json_store import JsonStore
from ._memory import MemoryStore
from ._redis_store import open_redis
from ._store import SessionStore

_STORE_METHODS = ("load", "save", "delete", "aclose")
_AGENTSCOPE_METHODS = ("save_session_state", "load_session_state")


@asynccontextmanager
async def open_store(config: SessionConfig, project: Path) -> AsyncGenerator[SessionStore]:
    """Hold the configured session store open.

    A backend named `package.module:Class`, or by an entry point, is a class with the methods of
    `SessionStore` or of AgentScope 1.x's `SessionBase`. It is called with those of `config`,
    `save_dir` (absolute), `url` and `ttl` that its signature names and that are set; an `open`
    method without arguments is awaited before use.

    Args:
        config: The `session` section.
        project: What `save_dir` is relative to.

    Raises:
        StartupError: the store cannot be opened.
    """
    store = await _open(config, project)
    try:
        yield store
    finally:
        await store.aclose()


async def _open(config: SessionConfig, project: Path) -> SessionStore:
    match config.backend:
        case "memory":
            return MemoryStore(ttl_s=config.ttl)
        case "json":
            store = JsonStore(project / config.save_dir, ttl_s=config.ttl)
            await store.open()
            return store
        case "redis":
            return await open_redis(config)
        case _:
            return await _open_custom(config, project)


async def _open_custom(config: SessionConfig, project: Path) -> SessionStore:
    name = config.backend
    made = _make(_find_factory(name), config, project)
    if all(callable(getattr(made, method, None)) for method in _STORE_METHODS):
        open_it: Callable[[], Awaitable[object]] | None = getattr(made, "open", None)
        try:
            if open_it is not None:
                await open_it()
        except AgentRuntimeError:
            raise
        except Exception as error:
            raise StartupError("session", _failed(name, error)) from error
        return cast(SessionStore, made)
    if all(callable(getattr(made, method, None)) for method in _AGENTSCOPE_METHODS):
        return AgentScopeStore(made)
    raise StartupError(
        "session",
        f'"{name}" is no session backend: it needs the methods {", ".join(_STORE_METHODS)}, '
        f"or those of AgentScope's SessionBase",
    )


def _find_factory(name: str) -> Callable[..., Any]:
    try:
        found = load_object(name) if ":" in name else load_entry_point(SESSION_BACKEND_GROUP, name)
    except Exception as error:
        # Importing runs the module's code, which may raise anything.
        raise StartupError("session", f'the backend "{name}" cannot be loaded: {error}') from error
    if found is None:
        known = ", ".join([*SESSION_BACKENDS, *entry_point_names(SESSION_BACKEND_GROUP)])
        raise StartupError("session", f'there is no backend "{name}", only {known}')
    if not callable(found):
        raise StartupError("session", f'the backend "{name}" is no class')
    return cast("Callable[..., Any]", found)


def _make(factory: Callable[..., Any], config: SessionConfig, project: Path) -> Any:
    offered = {
        "config": config,
        "save_dir": str((project / config.save_dir).absolute()),
        "url": config.url,
        "ttl": config.ttl,
    }
    wanted: Collection[str] = ()
    with suppress(ValueError):  # a class written in C has no signature
        wanted = inspect.signature(factory).parameters
    try:
        return factory(
            **{
                name: value
                for name, value in offered.items()
                if name in wanted and value is not None
            }
        )
    except Exception as error:
        raise StartupError("session", _failed(config.backend, error)) from error


def _failed(name: str, error: Exception) -> str:
    # The type only: what a client library says may hold the URL with its password.
    return f'the backend "{name}" cannot be opened: {type(error).__name__}'
