"""What a server serves: `uvicorn asgi:app --workers 4`."""

from __future__ import annotations

from pathlib import Path

from asgi_agentrt import AgentRuntimeASGI

app = AgentRuntimeASGI(Path(__file__).parent)
