"""An app without AgentScope: it says back what it hears, and counts the turns of a conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator

from asgi_agentrt import AgentApp, Msg, SessionContext


class App(AgentApp):
    """Echoes word by word."""

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        """Answer one message; `ctx.state` is kept between the calls of a session."""
        ctx.state["turns"] = ctx.state.get("turns", 0) + 1
        yield f"Turn {ctx.state['turns']}:"
        for word in str(msg.content).split():
            yield f" {word}"
