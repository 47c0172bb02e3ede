"""A FastAPI app with routes of its own, a lifespan of its own, and an agent at /agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from asgi_agentrt import AgentRuntimeASGI

agent = AgentRuntimeASGI(Path(__file__).parent / "my_project")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what the host itself needs; the agent is up before and down after."""
    app.state.greeting = "Hello from the host"
    yield


app = FastAPI(lifespan=lifespan)
agent.attach(app, "/agent")


@app.get("/")
async def home() -> dict[str, str]:
    """Answer a route of the host's."""
    return {"message": app.state.greeting}
