"""How a test of the configuration writes a file and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from asgi_agentrt._config import RuntimeConfig, load_config


class Load(Protocol):
    """Reads text as the agentapp.yaml of a project."""

    def __call__(self, text: str | bytes, environ: Mapping[str, str] = ...) -> RuntimeConfig: ...


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str | bytes, environ: Mapping[str, str] | None = None) -> RuntimeConfig:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "agentapp.yaml").write_bytes(content)
        return load_config("agentapp.yaml", project=tmp_path, environ=environ or {})

    return load
