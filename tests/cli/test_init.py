"""A new project is complete, and nothing that exists is touched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asgi_agentrt import Msg, SessionContext
from asgi_agentrt._config import RuntimeConfig, load_config
from asgi_agentrt._project import load_project

from .conftest import Agentrt


@pytest.fixture
def project(agentrt: Agentrt, tmp_path: Path) -> Path:
    outcome = agentrt("init", "my-agent")
    assert (outcome.code, outcome.err) == (0, "")
    return tmp_path / "my-agent"


def test_it_has_the_three_files_and_says_how_to_go_on(agentrt: Agentrt, tmp_path: Path) -> None:
    outcome = agentrt("init", "my-agent")
    assert sorted(path.name for path in (tmp_path / "my-agent").iterdir()) == [
        "agentapp.yaml",
        "app.py",
        "requirements.txt",
    ]
    assert "agentrt run my-agent" in outcome.out
    assert "agentrt invoke http://127.0.0.1:8080" in outcome.out


def test_it_has_no_faults(agentrt: Agentrt, project: Path) -> None:
    outcome = agentrt("validate", str(project))
    assert (outcome.code, outcome.err) == (0, "")


def test_the_configuration_means_the_defaults(project: Path) -> None:
    assert load_config("agentapp.yaml", project=project, environ={}) == RuntimeConfig()


def test_the_configuration_is_valid_with_its_comments_taken_in(project: Path) -> None:
    """Whoever uncomments an example gets something that works."""
    file = project / "agentapp.yaml"
    file.write_text(re.sub(r"^( *)# ( *\w+:)", r"\1\2", file.read_text(), flags=re.MULTILINE))
    environ = dict.fromkeys(("OPENAI_API_KEY", "MCP_TOKEN", "AGENT_API_KEY"), "k" * 8)
    config = load_config("agentapp.yaml", project=project, environ=environ)
    assert config.models["main"].model == "gpt-4o"
    assert config.mcp_servers["search"].headers == {"Authorization": "Bearer kkkkkkkk"}
    assert config.server.api_key == "k" * 8


@pytest.mark.parametrize(
    "content",
    [
        "tell me  more",
        [{"type": "text", "text": "tell me"}, {"type": "image"}, {"type": "text", "text": "more"}],
    ],
)
async def test_the_app_streams_the_words_back(project: Path, content: object) -> None:
    loaded = load_project(project)
    ctx = SessionContext("s1")
    for turn in (1, 2):
        pieces = [piece async for piece in loaded.app(Msg("user", content, "user"), ctx)]  # type: ignore[arg-type] # both kinds of content
        assert pieces == [f"({turn}) You said:", " tell", " me", " more"]


def test_the_app_satisfies_a_strict_type_checker(project: Path) -> None:
    pytest.importorskip("mypy")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "app.py"],
        cwd=project,
        env={**os.environ, "MYPYPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/x", "a b", "-x", ".hidden", "é", "a\\b", "x" * 101, "a."]
)
def test_a_name_that_is_none_is_refused(agentrt: Agentrt, tmp_path: Path, name: str) -> None:
    outcome = agentrt("init", "--", name)
    assert outcome.code == 2
    assert "is no name for a project" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(agentrt: Agentrt, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("finished")
    outcome = agentrt("init", "mine")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "agentrt: mine: is there already and not empty; nothing was changed\n"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_filled(agentrt: Agentrt, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert agentrt("init", "mine").code == 0


def test_a_file_of_that_name_is_left_alone(agentrt: Agentrt, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("a file")
    outcome = agentrt("init", "mine")
    assert outcome.code == 1
    assert outcome.err == "agentrt: mine: is there already; it was not changed\n"
    assert (tmp_path / "mine").read_text() == "a file"


def test_a_place_that_cannot_be_written_to_is_one_message(
    agentrt: Agentrt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # root, as in containers, is refused nothing

    monkeypatch.setattr(Path, "mkdir", refuse)
    outcome = agentrt("init", "mine")
    assert outcome.code == 1
    assert outcome.err == "agentrt: mine: cannot be made: Permission denied\n"
