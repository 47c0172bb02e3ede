"""The README's table holds every key."""

from __future__ import annotations

import dataclasses

import pytest

from asgi_agentrt._config import (
    McpServerConfig,
    ModelConfig,
    PlatformConfig,
    RuntimeConfig,
    ServerConfig,
    SessionConfig,
    TracingConfig,
    reference_markdown,
)

_SECTIONS = {
    "agentapp.yaml": RuntimeConfig,
    "models.<slot>": ModelConfig,
    "mcp_servers.<name>": McpServerConfig,
    "session": SessionConfig,
    "platform": PlatformConfig,
    "tracing": TracingConfig,
    "server": ServerConfig,
}


def _rows(title: str) -> list[list[str]]:
    section = reference_markdown().split(f"### `{title}`\n")[1].split("### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


@pytest.mark.parametrize("title", _SECTIONS)
def test_each_section_lists_every_key_once(title: str) -> None:
    keys = [f.name for f in dataclasses.fields(_SECTIONS[title]) if not f.name.startswith("_")]
    assert [row[0] for row in _rows(title)] == [f"`{key}`" for key in keys]


def test_a_row_has_kind_default_and_meaning() -> None:
    rows = {row[0]: row[1:] for row in _rows("server")}
    assert rows["`port`"] == [
        "whole number 0 to 65535",
        "`8080`",
        "The port to listen on, 0 for a free one (`agentrt run` only)",
    ]
    assert rows["`ping_interval`"][1] == "`15`"
    assert {row[0]: row[2] for row in _rows("models.<slot>")}["`provider`"] == "required"


def test_tables_are_whole() -> None:
    for line in reference_markdown().splitlines():
        assert not line.startswith("|") or line.count("|") == 5
