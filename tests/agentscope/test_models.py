"""What a `models` entry says arrives at its provider: URL, key, parameters, each in its place."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from asgi_agentrt._agentscope import Adapter
from asgi_agentrt._config import ModelConfig
from tests.support import llm
from tests.support.scripted_llm import ScriptedLLM

from .recording import Recorder, recording

pytestmark = [
    pytest.mark.anyio,
    # google-genai derives from a class of aiohttp that does not want to be derived from.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    # google-genai drops a session of aiohttp at each of its retries, without closing it.
    pytest.mark.filterwarnings("ignore:Unclosed client session"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function ClientSession.__del__"),
]

KEY = "sk-very-secret"
BOTH = ("openai", "openai_response", "anthropic", "dashscope", "gemini", "ollama")
ONLY_2 = ("deepseek", "moonshot", "minimax", "volcengine")
WITHOUT_KEY = ("ollama",)

PATHS = {
    "openai": "/chat/completions",
    "openai_response": "/responses",
    "anthropic": "/v1/messages",
    "dashscope": "/services/aigc/text-generation/generation",
    "gemini": "/v1/models/m1:streamGenerateContent?alt=sse",
    "ollama": "/api/chat",
    "minimax": "/v1/messages",
}
REFUSED = r"refused|\"status_code\": 400"  # dashscope does not quote the server
BEARER = ("authorization", f"Bearer {KEY}")
KEYS = {"gemini": ("x-goog-api-key", KEY)}


@pytest.fixture(params=[*BOTH, *ONLY_2])
def provider(request: pytest.FixtureRequest, adapter: Adapter) -> str:
    if request.param in ONLY_2 and adapter.generation == 1:
        pytest.skip("needs AgentScope 2.x")
    return str(request.param)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture
def closed_url() -> Iterator[str]:
    """A loopback URL where nobody listens, for as long as the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def config(provider: str, base_url: str | None = None, **fields: Any) -> ModelConfig:
    known: dict[str, Any] = {"model": "m1", "api_key": KEY, "base_url": base_url}
    return ModelConfig(provider=provider, **{**known, **fields})


@asynccontextmanager
async def opened(adapter: Adapter, config: ModelConfig) -> AsyncIterator[Any]:
    model = adapter.make_model(config)
    try:
        yield model
    finally:
        await adapter.close_model(model)


async def call(adapter: Adapter, model: Any, provider: str = "", text: str = "Say hi") -> list[Any]:
    """Call a model, and return the chunks of its answer."""
    messages: list[Any]
    if adapter.generation == 2:
        from agentscope.message import UserMsg

        messages = [UserMsg("user", text)]
    elif provider == "gemini":
        messages = [{"role": "user", "parts": [{"text": text}]}]
    else:
        messages = [{"role": "user", "content": text}]
    with anyio.fail_after(30):
        answer = await model(messages)
        return [chunk async for chunk in answer] if model.stream else [answer]


def last_text(adapter: Adapter, chunks: list[Any]) -> str:
    block = chunks[-1].content[0]
    return str(block["text"] if adapter.generation == 1 else block.text)


async def test_url_key_and_parameters_arrive(
    adapter: Adapter, provider: str, recorder: Recorder
) -> None:
    """Also `top_k` and `seed`, which not all classes and not all SDKs know."""
    generate = {"temperature": 0.5, "max_tokens": 7, "top_k": 3, "seed": 4}
    async with opened(adapter, config(provider, recorder.url, generate_kwargs=generate)) as model:
        with pytest.raises(Exception, match=REFUSED):
            await call(adapter, model, provider)
    request = recorder.requests[0]
    path = PATHS.get(provider, "/chat/completions")
    if provider == "dashscope" and adapter.generation == 2:
        path = "/chat/completions"
    assert request.path == path
    sent = json.dumps(request.body).replace(" ", "")
    for part in ('"temperature":0.5', '"seed":4'):
        assert part in sent
    assert any(f'"{name}":3' in sent for name in ("top_k", "topK"))
    limits = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
    assert any(f'"{name}":7' in sent for name in (*limits, "num_predict"))
    name, value = KEYS.get(provider, BEARER)
    if provider == "anthropic" and adapter.generation == 1:
        name, value = "x-api-key", KEY
    assert value in (request.headers.get(name), request.headers.get("x-api-key"))
    assert len(recorder.requests) == 1


async def test_a_server_that_is_not_there_gives_the_sdks_own_error_soon(
    adapter: Adapter, provider: str, closed_url: str
) -> None:
    async with opened(adapter, config(provider, closed_url)) as model:
        started = time.monotonic()
        with pytest.raises(Exception, match=r"(?i)connect") as caught:
            await call(adapter, model, provider)
    library = type(caught.value).__module__.partition(".")[0]
    assert library in ("openai", "anthropic", "aiohttp", "httpx", "builtins")
    assert KEY not in str(caught.value)
    # google-genai takes up to some ten seconds for its own attempts.
    assert time.monotonic() - started < (20 if provider == "gemini" else 5)


async def test_attempts_do_not_multiply(adapter: Adapter, scripted: ScriptedLLM) -> None:
    """Only the SDK's own, which `client_kwargs` sets."""
    client = {"max_retries": 1}
    entry = config("openai", scripted.base_url, model="error:500", client_kwargs=client)
    async with opened(adapter, entry) as model:
        with pytest.raises(Exception, match="scripted failure"):
            await call(adapter, model)
    assert len(scripted.requests) == 2


async def test_an_api_key_is_asked_for(
    adapter: Adapter, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI", "OPENAI_ADMIN", "ANTHROPIC", "DASHSCOPE", "GEMINI", "GOOGLE"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    if adapter.generation == 1:
        monkeypatch.setattr("dashscope.api_key", None)  # as it was when that was imported
    if provider in WITHOUT_KEY:
        async with opened(adapter, config(provider, api_key=None)):
            return
    with pytest.raises(ValueError, match="api_key is required for"):
        adapter.make_model(config(provider, api_key=None))


async def test_a_key_that_the_sdk_finds_itself_will_do_in_1(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    if adapter.generation == 2:
        pytest.skip("2.x's credentials want it")
    for provider in ("openai", "anthropic", "dashscope", "gemini"):
        monkeypatch.setenv(f"{provider.upper()}_API_KEY", KEY)
        monkeypatch.setattr("dashscope.api_key", KEY)  # which it takes when it is imported
        async with opened(adapter, config(provider, api_key=None)) as model:
            assert model.model_name == "m1"


@pytest.mark.parametrize("name", ["base_url", "api_key"])
async def test_client_kwargs_may_hold_url_and_key_too(
    adapter: Adapter, recorder: Recorder, name: str
) -> None:
    """As in code that was written for AgentScope 1.x."""
    given: dict[str, Any] = {"base_url": recorder.url, "api_key": KEY}
    client = {name: given[name]}
    given[name] = None
    async with opened(adapter, config("openai", **given, client_kwargs=client)) as model:
        with pytest.raises(Exception, match=REFUSED):
            await call(adapter, model)
    assert recorder.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_client_kwargs_reach_the_sdks_client(adapter: Adapter, recorder: Recorder) -> None:
    client = {"default_headers": {"X-Team": "blue"}, "organization": "org-1"}
    async with opened(adapter, config("openai", recorder.url, client_kwargs=client)) as model:
        with pytest.raises(Exception, match=REFUSED):
            await call(adapter, model)
    headers = recorder.requests[0].headers
    assert (headers["x-team"], headers["openai-organization"]) == ("blue", "org-1")


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_client_kwargs_that_nobody_knows_are_named(adapter: Adapter, provider: str) -> None:
    with pytest.raises(ValueError, match=r"client_kwargs\.colour is not known") as caught:
        adapter.make_model(config(provider, client_kwargs={"colour": KEY}))
    assert KEY not in str(caught.value)


def test_a_value_that_a_class_refuses_is_never_told(adapter: Adapter) -> None:
    with pytest.raises(ValueError, match=r"parameters|fit") as caught:
        adapter.make_model(config("openai", client_kwargs={"http_client": KEY}))
    assert KEY not in str(caught.value)


def test_a_parameter_out_of_range_is_named_without_its_value(adapter: Adapter) -> None:
    if adapter.generation == 1:
        pytest.skip("1.x leaves it to the provider")
    with pytest.raises(ValueError, match=r"generate_kwargs.temperature: .* 2$") as caught:
        adapter.make_model(config("openai", generate_kwargs={"temperature": 77}))
    assert "77" not in str(caught.value)


def test_a_provider_of_the_other_generation_is_refused(adapter: Adapter) -> None:
    if adapter.generation == 2:
        pytest.skip("2.x has all of them")
    with pytest.raises(ValueError, match=r"^AgentScope 1.x has these providers: anthropic, "):
        adapter.make_model(config("deepseek"))


async def test_an_effort_is_sent_without_switching_thinking_on(
    adapter: Adapter, recorder: Recorder
) -> None:
    """2.x's class would drop it silently."""
    generate = {"reasoning_effort": "high"}
    async with opened(adapter, config("openai", recorder.url, generate_kwargs=generate)) as model:
        with pytest.raises(Exception, match=REFUSED):
            await call(adapter, model)
    assert recorder.requests[0].body["reasoning_effort"] == "high"


async def test_two_dashscope_models_have_urls_of_their_own(adapter: Adapter) -> None:
    """1.x's own argument would set it for the whole process."""
    with recording() as one, recording() as other:
        for server in (one, other):
            entries = (config("dashscope", url) for url in (server.url, "http://127.0.0.1:9"))
            first, second = (opened(adapter, entry) for entry in entries)
            async with first as model, second:
                with pytest.raises(Exception, match=REFUSED):
                    await call(adapter, model)
        assert (len(one.requests), len(other.requests)) == (1, 1)


async def test_extra_body_of_the_entry_and_of_a_call_are_merged(
    adapter: Adapter, recorder: Recorder
) -> None:
    if adapter.generation == 1:
        pytest.skip("1.x takes the call's instead")
    from agentscope.message import UserMsg

    generate = {"extra_body": {"a": 1}, "min_p": 0.1}
    async with opened(
        adapter, config("openai", recorder.url, generate_kwargs=generate, stream=False)
    ) as model:
        with pytest.raises(Exception, match=REFUSED):
            await model([UserMsg("user", "hi")], extra_body={"b": 2})
    body = recorder.requests[0].body
    assert (body["a"], body["b"], body["min_p"]) == (1, 2, 0.1)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_real_model_answers(
    adapter: Adapter, llm_url: str, provider: str, stream: bool
) -> None:
    entry = ModelConfig(
        provider=provider,
        model=llm.MODEL,
        base_url=llm_url if provider == "anthropic" else f"{llm_url}/v1",
        api_key=KEY,
        stream=stream,
        generate_kwargs={"temperature": 0, "max_tokens": 12},
    )
    async with opened(adapter, entry) as model:
        chunks = await call(adapter, model)
    assert last_text(adapter, chunks).strip()  # what it says is not ours to judge
    assert (len(chunks) > 3) == stream


async def test_a_closed_model_is_closed(adapter: Adapter, scripted: ScriptedLLM) -> None:
    model = adapter.make_model(config("openai", scripted.base_url, model="say"))
    await call(adapter, model)
    await adapter.close_model(model)
    await adapter.close_model(model)
    with pytest.raises(Exception, match=r"closed|Connection"):
        await call(adapter, model)


async def test_what_fails_to_close_is_logged_without_its_words(
    adapter: Adapter, scripted: ScriptedLLM, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def close(self) -> None:
            raise RuntimeError(KEY)

    model = adapter.make_model(config("openai", scripted.base_url))
    client, model.client = model.client, Broken()
    await adapter.close_model(model)
    await client.close()
    assert "OpenAIChatModel did not close: RuntimeError" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_xai_gives_a_silent_server_up(adapter: Adapter, stream: bool) -> None:
    if adapter.generation == 1:
        pytest.skip("needs AgentScope 2.x")
    pytest.importorskip("xai_sdk")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        entry = config("xai", url, stream=stream, client_kwargs={"timeout": 1})
        async with opened(adapter, entry) as model:
            with anyio.fail_after(10), pytest.raises(Exception, match=r"(?i)deadline|^$"):
                await call(adapter, model)
