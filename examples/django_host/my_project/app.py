"""The agent's project; it may use Django's models like any other code of the site."""

from __future__ import annotations

from collections.abc import AsyncIterator

from django.utils.translation import ngettext

from asgi_agentrt import AgentApp, Msg, SessionContext


class App(AgentApp):
    """Counts the words of a message."""

    async def __call__(self, msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
        """Answer one message."""
        count = len(str(msg.content).split())
        yield ngettext("%d word", "%d words", count) % count
