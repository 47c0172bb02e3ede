"""An AgentScope 2.x agent whose conversations are kept between calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agentscope.agent import Agent, InjectionConfig
from agentscope.message import Msg

from asgi_agentrt import AgentApp, SessionContext, runtime
from asgi_agentrt.agentscope import dump_state, load_state, stream_agent


class App(AgentApp):
    """One agent a call: cheap to make, and sessions cannot get in each other's way."""

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Any]:
        """Answer one message; what was said before comes from `ctx.state`."""
        agent = Agent(
            name="assistant",
            system_prompt="You are a helpful assistant. Answer in one short sentence.",
            model=runtime.models.main,
            toolkit=runtime.tools,
            # What AgentScope tells the model about the time and such confuses one this small.
            injection_config=InjectionConfig(inject_runtime_state=False),
        )
        if "agent" in ctx.state:
            load_state(agent, ctx.state["agent"])
        try:
            async for chunk in stream_agent(agent, msg):
                yield chunk
        finally:
            ctx.state["agent"] = dump_state(agent)
