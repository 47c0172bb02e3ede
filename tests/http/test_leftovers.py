"""Runs that were cut off leave nothing: the short form of `make soak`."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Generator

import pytest

from tests.soak import Figures, faults, soak

RUNS = 500


@pytest.fixture
def traced(anyio_backend: str) -> Generator[None]:
    """Count bytes too; on one loop only, since it makes everything several times slower."""
    if anyio_backend == "trio" or tracemalloc.is_tracing():
        yield
        return
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.fixture
def quiet() -> Generator[None]:
    """Put the level of our loggers back, which the soak raises."""
    logger = logging.getLogger("asgi_agentrt")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Without asyncio's debug mode, which keeps the stack of every task's making."""
    name: str = request.param
    return name


@pytest.mark.usefixtures("traced", "quiet")
async def test_five_hundred_runs_that_are_cut_off_leave_nothing() -> None:
    before, after = await soak(RUNS)
    assert faults(before, after, RUNS) == [], f"{before}\n{after}"


def test_what_is_left_over_is_found() -> None:
    before = Figures(objects=1000, traced_bytes=10_000, files=5, tasks=3, sessions=0)
    after = Figures(objects=9000, traced_bytes=900_000, files=6, tasks=4, sessions=1)
    assert len(faults(before, after, RUNS)) == 5
    assert faults(before, before, RUNS) == []
