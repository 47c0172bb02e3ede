"""Every fault is named, and a project without any is said to be fine."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Agentrt

APP = """\
from asgi_agentrt import AgentApp

class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield "hi"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "agentapp.yaml").write_text("session: {backend: memory}\n")
    return folder


def test_a_project_without_faults(agentrt: Agentrt, project: Path) -> None:
    assert agentrt("validate", str(project)) == (0, f"{project}: no faults found\n", "")


def test_the_working_directory_is_the_project_by_default(
    agentrt: Agentrt, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert agentrt("validate").code == 0


def test_all_faults_of_the_configuration_and_of_the_app_are_named(
    agentrt: Agentrt, project: Path
) -> None:
    (project / "agentapp.yaml").write_text("modles: {}\nserver:\n  port: x\n  api_key: ${NO_KEY}\n")
    (project / "app.py").write_text("class Application: ...\n")
    outcome = agentrt("validate", str(project))
    assert (outcome.code, outcome.out) == (1, "")
    first, second, third, fourth = outcome.err.splitlines()
    assert first.startswith("agentapp.yaml:1: modles: ")
    assert second.startswith("agentapp.yaml:3: server.port: ")
    assert third.startswith("agentapp.yaml:4: server.api_key: ")
    assert "NO_KEY" in third
    assert fourth == f"{project}/app.py: has no App; define `class App(AgentApp)`"


def test_another_configuration_can_be_named(agentrt: Agentrt, project: Path) -> None:
    (project / "other.yaml").write_text("server: {port: 8081}\n")
    (project / "agentapp.yaml").unlink()
    assert agentrt("validate", str(project), "--config", "other.yaml").code == 0
    outcome = agentrt("validate", str(project))
    assert outcome.code == 1
    assert outcome.err.startswith("agentapp.yaml: there is no such file in ")


def test_a_folder_that_is_not_there(agentrt: Agentrt, tmp_path: Path) -> None:
    outcome = agentrt("validate", "nowhere")
    assert outcome.code == 1
    missing = tmp_path / "nowhere"
    assert outcome.err == f"agentrt: {missing}: no such folder; give the path of a project\n"


PLUG_INS = """\
class Model:
    async def aclose(self):
        print("closed", flush=True)

def make(config):
    if config.model == "broken":
        raise ValueError("no such model")
    return Model()
"""


def test_connect_opens_everything_and_closes_it(
    agentrt: Agentrt, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project)
    (project / "agentrt_test_plug_ins.py").write_text(PLUG_INS)
    config = (
        "models: {main: {provider: 'agentrt_test_plug_ins:make'}}\nsession: {backend: memory}\n"
    )
    (project / "agentapp.yaml").write_text(config)
    outcome = agentrt("validate", str(project), "--connect")
    assert outcome == (
        0,
        f"models.main: open\nsession: up\nclosed\n{project}: no faults found\n",
        "",
    )


def test_connect_names_what_does_not_open(
    agentrt: Agentrt, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project)
    (project / "agentrt_test_plug_ins.py").write_text(PLUG_INS)
    config = "models: {main: {provider: 'agentrt_test_plug_ins:make', model: broken}}\n"
    (project / "agentapp.yaml").write_text(config)
    assert agentrt("validate", str(project)).code == 0
    outcome = agentrt("validate", str(project), "--connect")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("models.main: ")


def test_connect_tries_nothing_while_there_are_faults(agentrt: Agentrt, project: Path) -> None:
    (project / "agentapp.yaml").write_text("nonsense: 1\n")
    outcome = agentrt("validate", str(project), "--connect")
    assert outcome.code == 1
    assert outcome.err.startswith("agentapp.yaml:1: nonsense")
