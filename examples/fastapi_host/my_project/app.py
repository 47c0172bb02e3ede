"""The agent's project; a real one would ask a model, see ../../local_llm."""

from __future__ import annotations

from collections.abc import AsyncIterator

from asgi_agentrt import AgentApp, Msg, SessionContext


class App(AgentApp):
    """Greets whoever the request's metadata names."""

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[Msg]:
        """Answer one message, in two pieces."""
        who = ctx.user_id or "stranger"
        yield Msg("assistant", f"Hello {who}, ", "assistant", {"chunk": True})
        yield Msg("assistant", f"you said: {msg.content}", "assistant", {"chunk": True})
