"""`make demo`'s driver: a real model, a real MCP server, a real host."""

from __future__ import annotations

import importlib.metadata
import json
import sys

import pytest

from tests.support.process import running

pytestmark = pytest.mark.skipif(
    not importlib.metadata.version("agentscope").startswith("2."),
    reason="the example is written for AgentScope 2.x",
)


def test_the_demo_streams_answers_reports_health_and_stops_everything() -> None:
    with running([sys.executable, "examples/local_llm/demo.py"]) as process:
        health = process.expect(r"(?s)GET /agent/health -> 200\n(\{.*?\n\})", limit_s=150)[1]
        assert process.wait(limit_s=60) == 0, process.output
    assert "Paris" in process.output
    assert json.loads(health)["mcp_servers"] == {"clock": "up"}
    assert json.loads(health)["models"] == {"main": "open"}
    assert "Traceback" not in process.output
