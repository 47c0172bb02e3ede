"""A project's app: one agent, whose memory is the session's. `metadata` chooses its model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from asgi_agentrt import AgentApp, runtime
from asgi_agentrt.agentscope import dump_state, load_state, stream_agent

if version("agentscope").startswith("1."):
    from agentscope import formatter
    from agentscope.agent import ReActAgent

    def make_agent(model: Any) -> Any:
        """Return an agent of AgentScope 1.x."""
        format_class = getattr(formatter, type(model).__name__.replace("Model", "Formatter"))
        return ReActAgent("bot", "You help.", model, format_class(), runtime.tools)

else:
    from agentscope.agent import Agent

    def make_agent(model: Any) -> Any:
        """Return an agent of AgentScope 2.x."""
        return Agent("bot", "You help.", model, runtime.tools)


def say(text: str) -> None:
    """Tell whoever reads the server's output."""
    print(text, flush=True)  # noqa: T201  what the tests wait for


class App(AgentApp):
    async def on_startup(self) -> None:
        say(f"app started with {sorted(runtime.models)}")

    async def on_shutdown(self) -> None:
        say("app stopped")

    async def __call__(self, msg, ctx) -> AsyncIterator[Any]:  # type: ignore[no-untyped-def]  # what msg is without an annotation is under test
        agent = make_agent(runtime.models[ctx.metadata.get("model", "main")])
        load_state(agent, ctx.state.get("agent", {}))
        if "describe" in ctx.metadata:
            yield f"{type(msg).__module__}.{type(msg).__name__}"
        try:
            async for chunk in stream_agent(agent, msg):
                yield chunk
        finally:
            ctx.state["agent"] = dump_state(agent)
            say(f"run of {ctx.session_id} ended: {ctx.cancel_reason}")
