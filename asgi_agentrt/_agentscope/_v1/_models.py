"""Chat models of AgentScope 1.x."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from agentscope import model as models

from .._building import Entry, build, fit_to_sdk, require_key, take

if TYPE_CHECKING:
    from ..._config import ModelConfig

logger = logging.getLogger(__name__)


def _common(entry: Entry) -> dict[str, Any]:
    return {"model_name": entry.model, "stream": entry.stream}


def _openai(entry: Entry, class_name: str, create: str) -> Any:
    if entry.base_url is not None:
        entry.client["base_url"] = entry.base_url
    arguments = {
        **_common(entry),
        "api_key": entry.api_key,
        **take(entry.client, ("organization", "client_type")),
        **take(entry.generate, ("stream_tool_parsing",)),
        "client_kwargs": entry.client,
    }
    try:
        model = build(getattr(models, class_name), arguments)
    except ValueError:
        # Only now: a key may also come from the environment or as another kind of credential.
        if not {"azure_ad_token", "azure_ad_token_provider", "workload_identity"} & {*entry.client}:
            _require_openai_key(entry)
        raise
    model.generate_kwargs = fit_to_sdk(attrgetter(create)(model.client), entry.generate)
    return model


def _require_openai_key(entry: Entry) -> None:
    if entry.api_key is None:
        openai: Any = importlib.import_module("openai")  # half a second, for this provider only
        try:
            openai.AsyncClient()
        except openai.OpenAIError:
            require_key(None, "openai", variable="OPENAI_API_KEY")


def _openai_chat(entry: Entry) -> Any:
    return _openai(entry, "OpenAIChatModel", "chat.completions.create")


def _openai_response(entry: Entry) -> Any:
    if "max_tokens" in entry.generate:
        entry.generate["max_output_tokens"] = entry.generate.pop("max_tokens")
    return _openai(entry, "OpenAIResponseModel", "responses.create")


def _anthropic(entry: Entry) -> Any:
    if entry.base_url is not None:
        entry.client["base_url"] = entry.base_url
    arguments = {
        **_common(entry),
        "api_key": entry.api_key,
        **take(entry.generate, ("max_tokens", "thinking", "stream_tool_parsing")),
        "client_kwargs": entry.client,
    }
    model = build(models.AnthropicChatModel, arguments)
    if model.client.api_key is None and model.client.auth_token is None:
        require_key(None, "anthropic", variable="ANTHROPIC_API_KEY")
    model.generate_kwargs = fit_to_sdk(model.client.messages.create, entry.generate)
    return model


def _dashscope(entry: Entry) -> Any:
    if entry.client:
        name = min(entry.client)
        raise ValueError(f"client_kwargs.{name} is not known: dashscope takes none")
    if entry.api_key is None:
        find_key = importlib.import_module("dashscope.common.api_key").get_default_api_key
        errors: Any = importlib.import_module("dashscope.common.error")
        try:
            entry.api_key = find_key()
        except errors.AuthenticationError:
            require_key(None, "dashscope", variable="DASHSCOPE_API_KEY")
    constructor = take(entry.generate, ("enable_thinking", "multimodality", "stream_tool_parsing"))
    if entry.base_url is not None:
        # The class's own base_http_api_url would change it for all models of the process.
        entry.generate["base_address"] = entry.base_url
    arguments = {**_common(entry), "api_key": entry.api_key, **constructor}
    return build(models.DashScopeChatModel, {**arguments, "generate_kwargs": entry.generate})


def _gemini(entry: Entry) -> Any:
    if entry.base_url is not None:
        options = entry.client.get("http_options", {})
        entry.client["http_options"] = {**options, "base_url": entry.base_url}
    if "max_tokens" in entry.generate:
        entry.generate["max_output_tokens"] = entry.generate.pop("max_tokens")
    arguments = {
        **_common(entry),
        "api_key": entry.api_key,
        **take(entry.generate, ("thinking_config",)),
        "client_kwargs": entry.client,
        "generate_kwargs": entry.generate,
    }
    try:
        return build(models.GeminiChatModel, arguments)
    except ValueError:
        if not (entry.api_key or entry.client.get("vertexai")):
            require_key(None, "gemini", variable="GEMINI_API_KEY")
        raise


_OLLAMA_TOP_LEVEL = ("format", "keep_alive", "think", "logprobs", "top_logprobs")


def _ollama(entry: Entry) -> Any:
    host = entry.base_url or entry.client.pop("host", None)
    if entry.api_key is not None:
        headers = entry.client.get("headers", {})
        entry.client["headers"] = {"Authorization": f"Bearer {entry.api_key}", **headers}
    constructor = take(entry.generate, ("enable_thinking",))
    top_level = take(entry.generate, _OLLAMA_TOP_LEVEL)
    options = {**entry.generate.pop("options", {}), **entry.generate}
    if "max_tokens" in options:
        options["num_predict"] = options.pop("max_tokens")
    arguments = {**_common(entry), "host": host, "options": options or None, **constructor}
    arguments |= {"client_kwargs": entry.client, "generate_kwargs": top_level}
    return build(models.OllamaChatModel, arguments)


_PROVIDERS: dict[str, Callable[[Entry], Any]] = {
    "anthropic": _anthropic,
    "dashscope": _dashscope,
    "gemini": _gemini,
    "ollama": _ollama,
    "openai": _openai_chat,
    "openai_response": _openai_response,
}


def make_model(config: ModelConfig) -> Any:
    """Build a chat model; see `Adapter.make_model`."""
    if (make := _PROVIDERS.get(config.provider)) is None:
        raise ValueError(f"AgentScope 1.x has these providers: {', '.join(_PROVIDERS)}")
    return make(Entry(config))


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
