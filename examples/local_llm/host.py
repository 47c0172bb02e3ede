"""The web app that the agent lives in."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI

from asgi_agentrt import AgentRuntimeASGI

app = FastAPI(title="A site with an agent")
agent = AgentRuntimeASGI(Path(__file__).parent)
agent.attach(app, "/agent")


@app.get("/")
async def home() -> dict[str, str]:
    """Answer a route of the host's."""
    return {"agent": "/agent/invoke"}
