"""What every test may use: both event loops, and a package that leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=[("asyncio", {"debug": True}), ("trio", {})], ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The loop a test runs on; a test of asyncio-only code overrides this in its folder."""
    return request.param
