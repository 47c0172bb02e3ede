"""A project's app that yields what AgentScope's own agents give, as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from asgi_agentrt import AgentApp, SessionContext, runtime

if version("agentscope").startswith("1."):
    from agentscope.agent import ReActAgent
    from agentscope.formatter import OpenAIChatFormatter
    from agentscope.message import Msg

    async def answer(msg: Msg, *, as_events: bool) -> AsyncIterator[Any]:
        agent = ReActAgent("bot", "You help.", runtime.models.main, OpenAIChatFormatter())
        agent.set_console_output_enabled(enabled=False)
        yield await agent(msg)

else:
    from agentscope.agent import Agent
    from agentscope.message import Msg

    async def answer(msg: Msg, *, as_events: bool) -> AsyncIterator[Any]:
        agent = Agent("bot", "You help.", runtime.models.main)
        if as_events:
            async for event in agent.reply_stream(msg):
                yield event
        else:
            yield await agent.reply(msg)


class App(AgentApp):
    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:
        async for item in answer(msg, as_events=bool(ctx.metadata.get("events"))):
            yield item
