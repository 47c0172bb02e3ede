"""What the workers serve: one app under three settings of `session.concurrency`, one store.

`WORKER_SESSION` is the `session` section as JSON; `/queue`, `/reject` and `/interrupt` say which
setting. An app keeps a log of its session's turns in `ctx.state`.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.routing import Mount

from asgi_agentrt import AgentRuntimeASGI, Msg, SessionContext

POLL_S = 0.02
THINKS_S = 0.03


async def note(msg: Msg, ctx: SessionContext) -> AsyncIterator[str]:
    """Append "TOKEN", or "TOKEN GATE", to the log; with a gate, end when that file is there."""
    token, _, gate = str(msg.content).partition(" ")
    log = ctx.state.get("log", [])
    await anyio.sleep(random.uniform(0, THINKS_S))  # where others would run in between, if let
    ctx.state["log"] = [*log, [token, ctx.run_id]]
    yield str(len(log) + 1)
    # Another process makes it: nothing announces that.
    while gate and not Path(gate).exists():  # noqa: ASYNC110, ASYNC240
        await anyio.sleep(POLL_S)


SESSION = json.loads(os.environ["WORKER_SESSION"])
AGENTS = {
    name: AgentRuntimeASGI(
        app=note, config={"session": {**SESSION, "concurrency": name}}, platform=False
    )
    for name in ("queue", "reject", "interrupt")
}


@asynccontextmanager
async def lifespan(host: Starlette) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for agent in AGENTS.values():
            await stack.enter_async_context(agent.lifespan(host))
        yield


app = Starlette(
    routes=[Mount(f"/{name}", agent) for name, agent in AGENTS.items()], lifespan=lifespan
)
