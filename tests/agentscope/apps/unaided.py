"""A project's app that calls AgentScope's agents itself, and keeps what they remember.

`metadata` chooses the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import anyio
import anyio.lowlevel

from asgi_agentrt import AgentApp, SessionContext, runtime
from asgi_agentrt.agentscope import dump_state, load_state

WAY = "at once"  # or "streamed"
KEEPING = "dump_state"  # or "own state", or "by name"
PARALLEL = False
IS_FIRST = version("agentscope").startswith("1.")


async def compute(a: int, b: int) -> str:
    """Wait `a` times; if `a` is negative, the agent is interrupted, as its app or user may do."""
    if a < 0 and (task := asyncio.current_task()) is not None:
        task.cancel()
    for _ in range(abs(a)):
        await anyio.lowlevel.checkpoint()
    return str(a + b)


if IS_FIRST:
    from agentscope.agent import ReActAgent
    from agentscope.formatter import OpenAIChatFormatter
    from agentscope.message import Msg, TextBlock
    from agentscope.pipeline import stream_printing_messages
    from agentscope.tool import Toolkit, ToolResponse

    async def add(a: int, b: int) -> Any:
        """Add two numbers."""
        return ToolResponse(content=[TextBlock(type="text", text=await compute(a, b))])

    def make_agent(model: Any) -> Any:
        toolkit = Toolkit()
        toolkit.register_tool_function(add)
        agent = ReActAgent("bot", "You help.", model, OpenAIChatFormatter(), toolkit)
        agent.parallel_tool_calls = PARALLEL
        agent.set_console_output_enabled(enabled=False)
        return agent

    async def answers(agent: Any, msg: Msg) -> AsyncIterator[Any]:
        if WAY == "at once":
            yield await agent(msg)
        else:
            answering = stream_printing_messages(agents=[agent], coroutine_task=agent(msg))
            async for message, _ in answering:
                yield message

else:
    from agentscope.agent import Agent
    from agentscope.message import Msg
    from agentscope.permission import PermissionMode
    from agentscope.tool import FunctionTool, Toolkit

    async def add(a: int, b: int) -> Any:
        """Add two numbers."""
        return await compute(a, b)

    def make_agent(model: Any) -> Any:
        tool = FunctionTool(add, is_concurrency_safe=PARALLEL)
        agent = Agent("bot", "You help.", model, Toolkit(tools=[tool]))
        agent.state.permission_context.mode = PermissionMode.BYPASS
        return agent

    async def answers(agent: Any, msg: Msg) -> AsyncIterator[Any]:
        if WAY == "at once":
            yield await agent.reply(msg)
        else:
            async for event in agent.reply_stream(msg):
                yield event


class App(AgentApp):
    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:
        agent = make_agent(runtime.models[ctx.metadata.get("model", "main")])
        if KEEPING == "by name":
            await runtime.session.load_session_state(ctx.session_id, agent=agent)
        else:
            load_state(agent, ctx.state.get("agent", {}))
        try:
            async for item in answers(agent, msg):
                yield item
        finally:
            if KEEPING == "by name":
                with anyio.CancelScope(shield=True):
                    await runtime.session.save_session_state(ctx.session_id, agent=agent)
            elif KEEPING == "dump_state":
                ctx.state["agent"] = dump_state(agent)
            elif IS_FIRST:
                ctx.state["agent"] = agent.state_dict()
            else:
                ctx.state["agent"] = agent.state.model_dump(mode="json")
