"""No turn is lost, doubled or out of order while workers that share a store are killed."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from tests.support.redis_server import needs_redis
from tests.workers.places import Backend, open_place
from tests.workers.turmoil import Turmoil, endure
from tests.workers.workers import open_workers

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("backend", ["json", pytest.param("redis", marks=needs_redis)])
async def test_a_killed_worker_costs_no_turn(backend: Backend, tmp_path: Path) -> None:
    what = Turmoil(sessions=4, clients=12, calm_s=1.5)
    with open_place(backend, tmp_path, lease_s=2) as place, open_workers(place, 2) as workers:
        with anyio.fail_after(60):
            outcome = await endure(place, workers, what, seed=1)
    assert outcome.faults() == []
    assert outcome.history.count() > what.clients
    # Nothing but what a killed worker leaves of its connections.
    assert {code for code in outcome.history.failures if code.isupper()} == set()
