"""What every test may use: both event loops, and a package that leaves no trace."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

# Programs that tests with this marker drive, and that a developer's machine may lack.
PROGRAMS = {"browser": ("chromium",)}


@pytest.fixture(params=[("asyncio", {"debug": True}), ("trio", {})], ids=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The loop a test runs on; a test of asyncio-only code overrides this in its folder."""
    return request.param


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what a program is missing for; where everything has to be there, fail."""
    for marker, programs in PROGRAMS.items():
        absent = [name for name in programs if shutil.which(name) is None]
        if item.get_closest_marker(marker) is None or not absent:
            continue
        reason = f"not installed: {', '.join(absent)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
