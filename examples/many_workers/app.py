"""An app without AgentScope that is served by several processes: its sessions are in Redis."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from asgi_agentrt import AgentApp, Msg, SessionContext


class App(AgentApp):
    """Counts the turns of a conversation, and says which process has answered."""

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        """Answer one message; no other call of the session runs meanwhile, in any process."""
        ctx.state["turns"] = ctx.state.get("turns", 0) + 1
        yield f"Turn {ctx.state['turns']}, process {os.getpid()}: {msg.content}"
