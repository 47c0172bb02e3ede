"""The ways to mount, run from the README's own lines under a real server."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx
import pytest

from tests.support.process import ROOT, uvicorn

BLOCKS = re.findall(
    r"```python mount\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)
WAYS = ["lifespan", "composed", "composed", "wrapped", "lazy"]


def test_there_are_five_ways_of_at_most_five_lines_of_code() -> None:
    assert len(BLOCKS) == len(WAYS)
    assert all(len([line for line in block.splitlines() if line]) <= 5 for block in BLOCKS)


@pytest.mark.parametrize("number", range(len(WAYS)), ids=lambda number: f"way {number + 1}")
def test_the_lines_serve_the_agent(number: int, tmp_path: Path) -> None:
    """The block is the whole of `main.py`; the project is an example of ours."""
    shutil.copytree(
        ROOT / "examples" / "plain_function",
        tmp_path / "my_project",
        ignore=shutil.ignore_patterns("sessions", "__pycache__"),
    )
    (tmp_path / "main.py").write_text(BLOCKS[number])
    (tmp_path / "site_settings.py").write_text('SECRET_KEY = "for tests"\nALLOWED_HOSTS = ["*"]\n')
    settings = {"DJANGO_SETTINGS_MODULE": "site_settings"}
    with uvicorn("main:app", cwd=tmp_path, env=settings) as (process, url):
        base = url if number == 0 else f"{url}/agent"
        request = {"session_id": "s", "message": {"name": "u", "content": "a b", "role": "user"}}
        answer = httpx.post(f"{base}/invoke", json=request, timeout=20)
        health = httpx.get(f"{base}/health", timeout=20)
        assert answer.text.count("data: ") == 4
        assert '{"done":true}' in answer.text
        assert health.json()["started_by"] == WAYS[number]
        process.stop()
        assert "Traceback" not in process.output
