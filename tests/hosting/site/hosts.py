"""Every way of hosting, as `hosts:app` for a server; HOSTING says which."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from asgi_agentrt import AgentRuntimeASGI, AgentRuntimeMiddleware

HERE = Path(__file__).parent
SERVER = json.loads(os.environ.get("SERVER", "{}"))


def agent(name: str = "project_a") -> AgentRuntimeASGI:
    config = {"session": {"backend": "memory"}, "server": SERVER}
    return AgentRuntimeASGI(HERE / name, config=config)


@asynccontextmanager
async def host_lifespan(app: FastAPI) -> Any:
    print("MARK host started", flush=True)  # noqa: T201  what a test reads
    yield
    print("MARK host stopped", flush=True)  # noqa: T201  what a test reads


def host(**options: Any) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"host": "fine"}

    return app


def make_root() -> Any:
    return agent()


def make_composed() -> Any:
    made = agent()
    app = host(lifespan=made.lifespan)
    app.mount("/agent", made)
    return app


def make_attached() -> Any:
    app = host(lifespan=host_lifespan)
    agent().attach(app, "/agent")
    return app


def make_wrapped() -> Any:
    os.environ["DJANGO_SETTINGS_MODULE"] = "django_site"
    from django.core.asgi import get_asgi_application

    return AgentRuntimeMiddleware(get_asgi_application(), agent(), path="/agent")


def make_mounted() -> Any:
    app = host(lifespan=host_lifespan)
    app.mount("/agent", agent())
    return app


def make_fastapi() -> Any:
    """Three agents in one app, each wired in a way of its own."""
    first = agent()
    app = host(lifespan=first.lifespan)
    app.mount("/composed", first)
    agent().attach(app, "/attached")
    app.mount("/mounted", agent())
    return app


def make_two() -> Any:
    """Two projects, each with a helpers.py, in one process."""
    app = host()
    agent("project_a").attach(app, "/a")
    agent("project_b").attach(app, "/b")
    return app


def make_none() -> Any:
    """The host alone, to compare exit codes with."""
    return host()


app = globals()[f"make_{os.environ['HOSTING']}"]()
