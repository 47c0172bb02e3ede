"""An app that says aloud everything that happens to it."""

import os

import anyio
from helpers import NAME

from asgi_agentrt import AgentApp, runtime


def mark(what: str) -> None:
    print(f"MARK {NAME} {what}", flush=True)  # noqa: T201  what a test reads


class App(AgentApp):
    async def on_startup(self):
        assert runtime.app is self
        if "BROKEN" in os.environ:
            raise OSError("no database")
        mark("started")

    async def on_shutdown(self):
        assert runtime.app is self
        await anyio.sleep(0.1)  # what is cut short here does not get to the mark
        mark("stopped")

    async def __call__(self, msg, ctx):
        if msg.content == "who":
            assert runtime.app is self
            yield f"{NAME} with {runtime.config.session.backend}"
            return
        try:
            yield "begun"
            await anyio.sleep_forever()
        finally:
            mark(f"left: {ctx.cancel_reason}")
