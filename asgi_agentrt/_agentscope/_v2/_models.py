"""Chat models of AgentScope 2.x."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from agentscope import credential as credentials
from agentscope import model as models

from .._building import Entry, build, fit_to_sdk, require_key, take

if TYPE_CHECKING:
    from ..._config import ModelConfig

logger = logging.getLogger(__name__)

_XAI_TIMEOUT_S = 600.0  # the SDK's own is 27 minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Provider:
    """Where things go.

    Attributes:
        name: Of the classes in `agentscope.model` and, unless `credential` differs, their key's.
        credential: The credential's class, without "Credential".
        url: The credential's field for the base URL; None when it has none.
        key: Whether it cannot do without a key.
        create: The SDK's method that a call ends in; None when it takes any name.
    """

    name: str
    credential: str | None = None
    url: str | None = "base_url"
    key: bool = True
    create: str | None = "chat.completions.create"

    @property
    def credential_class(self) -> Any:
        return getattr(credentials, f"{self.credential or self.name}Credential")

    @property
    def model_class(self) -> Any:
        return getattr(models, f"{self.name}ChatModel", None) or getattr(
            models, f"{self.name}Model"
        )


_PROVIDERS = {
    "anthropic": _Provider(name="Anthropic", create="messages.create"),
    "dashscope": _Provider(name="DashScope"),
    "deepseek": _Provider(name="DeepSeek"),
    "gemini": _Provider(name="Gemini", url=None, create=None),
    "minimax": _Provider(name="MiniMax", create="messages.create"),
    "moonshot": _Provider(name="Moonshot"),
    "ollama": _Provider(name="Ollama", url="host", key=False, create=None),
    "openai": _Provider(name="OpenAI"),
    "openai_response": _Provider(
        name="OpenAIResponse", credential="OpenAI", create="responses.create"
    ),
    "volcengine": _Provider(name="Volcengine"),
    "xai": _Provider(name="XAI", url="api_host", create=None),
}
# How deep a model thinks counts for nothing in these classes unless thinking is switched on too.
_NEED_THINKING = {
    "gemini": ("thinking_budget",),
    "openai": ("reasoning_effort",),
    "openai_response": ("reasoning_effort",),
    "xai": ("reasoning_effort",),
    "anthropic": ("thinking_budget",),
}


def make_model(config: ModelConfig) -> Any:
    """Build a chat model; see `Adapter.make_model`."""
    if (provider := _PROVIDERS.get(config.provider)) is None:
        raise ValueError(f"AgentScope 2.x has these providers: {', '.join(_PROVIDERS)}")
    entry = Entry(config)
    credential = _credential(entry, provider)
    _adjust_client(entry, credential)
    if entry.generate.keys() & {*_NEED_THINKING.get(entry.provider, ())}:
        entry.generate.setdefault("thinking_enable", True)
    constructor = take(entry.generate, ("context_size",))
    parameters = _parameters(provider, entry.generate)
    base = _XAIModel if entry.provider == "xai" else provider.model_class
    arguments = {
        **constructor,
        # The SDK below retries already, and one multiplies the other.
        "max_retries": 0,
        "credential": credential,
        "model": entry.model,
        "parameters": parameters,
        "stream": entry.stream,
        "client_kwargs": entry.client,
    }
    model = build(_with_defaults(base), arguments)
    model.call_defaults = _call_defaults(entry, provider, model)
    return model


def _credential(entry: Entry, provider: _Provider) -> Any:
    fields: dict[str, Any] = {}
    if provider.url is not None:
        given = entry.client.pop(provider.url, None)
        if (url := entry.base_url or given) is not None:
            fields[provider.url] = url
    if provider.key:
        # Google's cloud has credentials of its own; an empty key leaves it to them.
        on_cloud = entry.provider == "gemini" and entry.client.get("vertexai")
        fields["api_key"] = entry.api_key or ("" if on_cloud else require_key(None, entry.provider))
    if "organization" in entry.client and entry.provider.startswith("openai"):
        fields["organization"] = entry.client.pop("organization")
    return build(provider.credential_class, fields)


def _adjust_client(entry: Entry, credential: Any) -> None:
    """Put what a credential has no field for into the client's arguments."""
    client = entry.client
    if entry.provider == "gemini" and entry.base_url is not None:
        client["http_options"] = {**client.get("http_options", {}), "base_url": entry.base_url}
    elif entry.provider == "ollama" and entry.api_key is not None:
        headers = client.get("headers", {})
        client["headers"] = {"Authorization": f"Bearer {entry.api_key}", **headers}
    elif entry.provider == "xai":
        client.setdefault("timeout", _XAI_TIMEOUT_S)
        if importlib.util.find_spec("xai_sdk") is None:  # AgentScope finds out at the first call
            raise ValueError("this provider needs xai_sdk")
        scheme, _, host = credential.api_host.rpartition("://")
        credential.api_host = host.rstrip("/")
        if scheme == "http":
            client.setdefault("use_insecure_channel", True)


def _parameters(provider: _Provider, generate: dict[str, Any]) -> Any:
    """Build the class's own parameters; what it does not know stays in `generate`."""
    parameters = provider.model_class.Parameters
    known = take(generate, parameters.model_fields)
    try:
        return parameters(**known)
    except ValueError as error:
        raise ValueError(_faults(error)) from None


def _faults(error: Any) -> str:
    """Return what pydantic has against it, without the values."""
    return "; ".join(
        f"generate_kwargs.{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    )


_OLLAMA_TOP_LEVEL = ("format", "keep_alive", "think", "logprobs", "top_logprobs")


def _call_defaults(entry: Entry, provider: _Provider, model: Any) -> dict[str, Any]:
    """Return what goes into each call: `Parameters` would drop what it does not know."""
    generate = entry.generate
    if entry.provider == "ollama":
        top_level = take(generate, _OLLAMA_TOP_LEVEL)
        options = {**generate.pop("options", {}), **generate}
        if not options:
            return top_level
        # Options of a call replace those that the class makes of its parameters.
        parameters = {
            "temperature": model.parameters.temperature,
            "num_predict": model.parameters.max_tokens,
        }
        made = {key: value for key, value in parameters.items() if value is not None}
        return {**top_level, "options": {**made, **options}}
    if provider.create is None or not generate:
        return generate
    return fit_to_sdk(attrgetter(provider.create)(model.client), generate)


def _with_defaults(base: Any) -> Any:
    """Return the class, with `call_defaults` that go into each of its calls."""

    class Model(base):
        call_defaults: Mapping[str, Any] = {}

        async def _call_api(self, *args: Any, **kwargs: Any) -> Any:
            merged = {**self.call_defaults, **kwargs}
            if "extra_body" in self.call_defaults and kwargs.get("extra_body"):
                merged["extra_body"] = {**self.call_defaults["extra_body"], **kwargs["extra_body"]}
            return await super()._call_api(*args, **merged)

    Model.__name__ = Model.__qualname__ = base.__name__
    return Model


class _XAIModel(models.XAIChatModel):
    """xAI's, with a limit: its gRPC channel may wait for a silent server without one."""

    async def _call_api(self, *args: Any, **kwargs: Any) -> Any:
        limit_s = self.client_kwargs["timeout"]
        async with asyncio.timeout(limit_s):
            answer = await super()._call_api(*args, **kwargs)
        return _within(answer, limit_s) if isinstance(answer, AsyncGenerator) else answer


async def _within(chunks: AsyncGenerator[Any, None], limit_s: float) -> AsyncGenerator[Any, None]:
    async with aclosing(chunks):
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            yield chunk


async def close_model(model: Any) -> None:
    """Close a chat model's client; see `Adapter.close_model`."""
    client = getattr(model, "client", None)
    try:
        if isinstance(model, models.GeminiChatModel):
            await model.client.aio.aclose()
        elif client is not None:
            await client.close()
    except Exception as error:  # noqa: BLE001  any SDK's; what is being closed must not stop the rest
        logger.warning("a %s did not close: %s", type(model).__name__, type(error).__name__)
