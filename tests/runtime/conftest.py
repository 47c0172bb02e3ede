"""What the runtime's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import resources

APP = """
from asgi_agentrt import AgentApp, runtime
from tests.runtime.resources import FAULTS, RECORD

NAME = "one"

class App(AgentApp):
    async def on_startup(self):
        if (fault := FAULTS.get("on_startup")) is not None:
            raise fault
        RECORD.append(f"start {NAME}")

    async def on_shutdown(self):
        RECORD.append(f"stop {NAME}")

    async def __call__(self, msg, ctx):
        yield NAME
"""


@pytest.fixture(autouse=True)
def record() -> list[str]:
    """What was opened and closed, in order."""
    resources.RECORD.clear()
    resources.FAULTS.clear()
    return resources.RECORD


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two models, a session store and an app, all of which keep a record."""
    make = f"{resources.__name__}:make_model"
    store = f"{resources.__name__}:Store"
    (tmp_path / "agentapp.yaml").write_text(
        f"models:\n"
        f"  main: {{provider: '{make}', model: large}}\n"
        f"  fast: {{provider: '{make}', model: small}}\n"
        f"session: {{backend: '{store}'}}\n"
    )
    (tmp_path / "app.py").write_text(APP)
    return tmp_path
