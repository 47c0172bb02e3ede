"""What all commands have in common."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from asgi_agentrt._cli import _schema, main

from .conftest import ROOT, Agentrt, Spawn

COMMANDS = ["run", "validate", "init", "invoke", "schema"]


def test_help_names_every_command(agentrt: Agentrt) -> None:
    outcome = agentrt("-h")
    assert outcome.code == 0
    assert all(f"\n    {command} " in outcome.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(agentrt: Agentrt, command: str) -> None:
    outcome = agentrt(command, "--help")
    assert outcome.code == 0
    assert outcome.out.startswith(f"usage: agentrt {command}")


def test_the_version_is_one_line(agentrt: Agentrt) -> None:
    outcome = agentrt("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("agentrt ")
    assert outcome.out.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run", "--port", "http"],
        ["run", "--port", "65536"],
        ["run", "--log-level", "loud"],
        ["run", "--por", "1"],
        ["invoke", "http://h", "hi"],
        ["invoke", "ftp://h", "hi", "--session", "s"],
        ["invoke", "http://[::", "hi", "--session", "s"],
        ["init"],
    ],
)
def test_a_wrong_usage_is_code_2_and_names_the_command(
    agentrt: Agentrt, arguments: list[str]
) -> None:
    outcome = agentrt(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("usage: agentrt")


def test_the_module_is_the_command(spawn: Spawn) -> None:
    outcome = spawn("schema").wait()
    assert (outcome.code, outcome.err) == (0, "")
    assert "$schema" in json.loads(outcome.out)


def test_the_schema_is_of_every_section(agentrt: Agentrt) -> None:
    outcome = agentrt("schema")
    assert outcome.code == 0
    sections = {"models", "mcp_servers", "session", "platform", "tracing", "server"}
    assert sections == set(json.loads(outcome.out)["properties"])


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    schema = subprocess.Popen(
        [sys.executable, "-m", "asgi_agentrt", "schema"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert schema.stdout is not None
    assert schema.stderr is not None
    schema.stdout.close()
    with schema.stderr:
        assert schema.stderr.read() == b""
    assert schema.wait(20) == 1


def test_ctrl_c_is_code_130_and_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(_schema, "json_schema", interrupt)
    assert main(["schema"]) == 130
    assert capsys.readouterr() == ("", "")
