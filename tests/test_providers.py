"""Models of any provider: AgentScope's own, entry points, and functions of the project."""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType
from typing import Any

import pytest

from asgi_agentrt import _providers
from asgi_agentrt._config import MODEL_PROVIDERS, ModelConfig
from asgi_agentrt._providers import is_builtin_provider, open_model
from asgi_agentrt.exceptions import AgentRuntimeError, ConfigError, MissingExtraError, StartupError

pytestmark = pytest.mark.anyio


class Model:
    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.closed = 0


class Closing(Model):
    def close(self) -> None:
        self.closed += 1


class ClosingLater(Model):
    async def aclose(self) -> None:
        self.closed += 1

    close = None


class NotClosing(Model):
    async def aclose(self) -> None:
        raise RuntimeError("secret")


async def make_later(config: ModelConfig) -> Model:
    return ClosingLater(config)


def fail(config: ModelConfig) -> Model:
    raise RuntimeError(f"no such key: {config.api_key}")


def refuse(config: ModelConfig) -> Model:
    raise ConfigError


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of plug-ins, and one of them as an entry point."""
    module = ModuleType("my_plugins")
    things: list[Any] = [Model, Closing, ClosingLater, NotClosing, make_later, fail, refuse]
    vars(module).update({thing.__name__: thing for thing in things}, nothing=5)
    monkeypatch.setitem(sys.modules, "my_plugins", module)
    group = "asgi_agentrt.model_providers"
    point = importlib.metadata.EntryPoint("mine", "my_plugins:Closing", group)
    broken = importlib.metadata.EntryPoint("broken", "not_there:at_all", group)
    points = importlib.metadata.EntryPoints([point, broken])
    monkeypatch.setattr(importlib.metadata, "entry_points", points.select)


def config(provider: str) -> ModelConfig:
    return ModelConfig(provider=provider, model="m", api_key="sk-secret")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("provider", "closed"),
    [
        ("my_plugins:Model", 0),
        ("my_plugins:Closing", 1),
        ("my_plugins:ClosingLater", 1),
        ("my_plugins:make_later", 1),
        ("mine", 1),
    ],
)
async def test_a_plug_in_makes_and_closes_its_model(provider: str, closed: int) -> None:
    entry = config(provider)
    model, close = await open_model("main", entry)
    assert model.config is entry
    await close()
    assert model.closed == closed


@pytest.mark.usefixtures("plugins")
async def test_what_fails_to_close_is_logged_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, close = await open_model("main", config("my_plugins:NotClosing"))
    await close()
    assert "models.main did not close: RuntimeError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        ("my_plugins:fail", "its factory raised RuntimeError"),
        ("my_plugins:nothing", "its provider is no function but a int"),
        ("my_plugins:missing", 'its provider cannot be imported (ValueError: "my_plugins" has'),
        ("not_there:at_all", "its provider cannot be imported (ModuleNotFoundError: No module"),
        ("broken", "its provider cannot be imported (ModuleNotFoundError: No module"),
    ],
)
async def test_a_plug_in_that_fails_is_named_by_its_slot(provider: str, reason: str) -> None:
    with pytest.raises(StartupError) as caught:
        await open_model("main", config(provider))
    assert str(caught.value).startswith(f"models.main: {reason}")
    assert "sk-secret" not in str(caught.value)


@pytest.mark.usefixtures("plugins")
async def test_a_plug_in_that_was_uninstalled_meanwhile_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = config("mine")
    nothing = importlib.metadata.EntryPoints([])
    monkeypatch.setattr(importlib.metadata, "entry_points", nothing.select)
    with pytest.raises(StartupError, match=r"is not installed; these are: openai, anthropic, "):
        await open_model("main", entry)


@pytest.mark.usefixtures("plugins")
async def test_an_error_of_ours_comes_through() -> None:
    with pytest.raises(ConfigError):
        await open_model("main", config("my_plugins:refuse"))


def test_the_built_in_providers_are_known() -> None:
    assert all(is_builtin_provider(name) for name in MODEL_PROVIDERS)
    assert not is_builtin_provider("mine")


async def test_a_built_in_provider_needs_asyncio_and_agentscope(
    anyio_backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise MissingExtraError("absent")

    monkeypatch.setattr(_providers, "load_adapter", missing)
    error: type[AgentRuntimeError] = StartupError
    if anyio_backend_name == "asyncio":
        error = MissingExtraError
    with pytest.raises(error):
        await open_model("main", config("openai"))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_built_in_model_is_opened_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A double of the adapter: real ones are tested with AgentScope."""
    closed: list[Any] = []

    class Double:
        def make_model(self, config: ModelConfig) -> str:
            if config.model != "m":
                raise ValueError("api_key is required for openai")
            return "the model"

        async def close_model(self, model: Any) -> None:
            closed.append(model)

    monkeypatch.setattr(_providers, "load_adapter", Double)
    model, close = await open_model("main", config("openai"))
    await close()
    assert (model, closed) == ("the model", ["the model"])
    with pytest.raises(StartupError, match=r"^models\.main: api_key is required for openai$"):
        await open_model("main", ModelConfig(provider="openai", model="x"))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_agentscope_model_of_a_plug_in_is_closed_by_its_adapter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Any] = []

    class Theirs:
        __module__ = "agentscope.model"

    class Double:
        async def close_model(self, model: Any) -> None:
            closed.append(model)

    module = ModuleType("my_plugins")
    vars(module)["make"] = lambda config: Theirs()
    monkeypatch.setitem(sys.modules, "my_plugins", module)
    monkeypatch.setattr(_providers, "load_adapter", Double)
    model, close = await open_model("main", config("my_plugins:make"))
    await close()
    assert closed == [model]
