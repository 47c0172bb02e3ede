"""Open the models of a configuration: AgentScope's own providers, and plug-ins."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

from ._agentscope import load_adapter, require_asyncio
from ._config import MODEL_PROVIDER_GROUP, MODEL_PROVIDERS, ModelConfig
from ._importing import entry_point_names, load_entry_point, load_object
from .exceptions import AgentRuntimeError, StartupError

logger = logging.getLogger(__name__)


def is_builtin_provider(provider: str) -> bool:
    """Say whether AgentScope serves this provider, so that it is needed."""
    return provider in MODEL_PROVIDERS


async def open_model(name: str, config: ModelConfig) -> tuple[Any, Callable[[], Awaitable[None]]]:
    """Build the model of a slot.

    A plug-in is a function, sync or async, that takes the `ModelConfig` and returns the model, of
    any class; it is named by an entry point of the group `asgi_agentrt.model_providers`, or as
    `package.module:factory`. Plug-ins do without AgentScope.

    Args:
        name: The slot, for errors.
        config: Its entry.

    Returns:
        The model, and a function that closes it (by its `aclose()` or `close()`, if it has one)
        and never raises.

    Raises:
        StartupError: it cannot be built; the text holds no value of the configuration, only the
            plug-in's own error, which is the cause, may.
        MissingExtraError: AgentScope is not installed.
    """
    resource = f"models.{name}"
    if is_builtin_provider(config.provider):
        require_asyncio()
        adapter = load_adapter()
        try:
            model = adapter.make_model(config)
        except ValueError as error:
            raise StartupError(resource, str(error)) from error
        return model, partial(adapter.close_model, model)
    factory = _find_factory(resource, config.provider)
    try:
        model = factory(config)
        if inspect.isawaitable(model):
            model = await model
    except AgentRuntimeError:
        raise
    except Exception as error:
        raise StartupError(resource, f"its factory raised {type(error).__name__}") from error
    return model, partial(_close, resource, model)


def _find_factory(resource: str, provider: str) -> Callable[[ModelConfig], Any]:
    try:
        if ":" in provider:
            factory = load_object(provider)
        else:
            factory = load_entry_point(MODEL_PROVIDER_GROUP, provider)
    except AgentRuntimeError:
        raise
    except Exception as error:
        raise StartupError(
            resource, f"its provider cannot be imported ({type(error).__name__}: {error})"
        ) from error
    if factory is None:
        known = ", ".join([*MODEL_PROVIDERS, *entry_point_names(MODEL_PROVIDER_GROUP)])
        raise StartupError(resource, f"its provider is not installed; these are: {known}")
    if not callable(factory):
        raise StartupError(resource, f"its provider is no function but a {type(factory).__name__}")
    return cast(Callable[[ModelConfig], Any], factory)


async def _close(resource: str, model: Any) -> None:
    if any(base.__module__.startswith("agentscope.") for base in type(model).__mro__):
        # AgentScope's models have no close(); some raise KeyError when asked for one.
        await load_adapter().close_model(model)
        return
    close = getattr(model, "aclose", None) or getattr(model, "close", None)
    if not callable(close):
        return
    try:
        closing = close()
        if inspect.isawaitable(closing):
            await closing
    except Exception as error:  # noqa: BLE001  the plug-in's own; the rest is to be closed, too
        logger.warning("%s did not close: %s", resource, type(error).__name__)
