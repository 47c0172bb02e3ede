"""Tests with several worker processes, which are uvicorn on asyncio."""

from __future__ import annotations

import pytest

pytest.importorskip("uvicorn", reason="needs the extra `server`")


@pytest.fixture
def anyio_backend() -> str:
    """The clients' loop; the app's is the workers'."""
    return "asyncio"
