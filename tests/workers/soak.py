"""Minutes of turns while workers are killed and paused: `python -m tests.workers.soak`.

Four workers share a store, 64 clients call eight sessions. Prints what was done and how long it
took; exits with 1 if a turn was lost, doubled or out of order.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import anyio

from tests.workers.places import Backend, open_place
from tests.workers.turmoil import Outcome, Turmoil, endure
from tests.workers.workers import open_workers

LEASE_S = 2.0
PAUSE_S = 4.0
CALM_S = 3.0


def describe(outcome: Outcome) -> str:
    """Return the figures as one line."""
    history = outcome.history
    answered = [call for calls in history.answered.values() for call in calls]
    waits = sorted(call.ended_at - call.began_at for call in answered)
    saved = sum(map(len, outcome.logs.values()))
    failures = ", ".join(f"{count} {name}" for name, count in history.failures.most_common())
    return (
        f"{len(waits)} turns in {outcome.took_s:.0f} s ({len(waits) / outcome.took_s:.0f} a "
        f"second), {outcome.kills} kills, {outcome.pauses} pauses; "
        f"{saved - len(waits)} saved whose answers were lost; failed calls: {failures or 'none'}; "
        f"answers after {_quantile(waits, 0.5):.2f} s (median), {_quantile(waits, 0.99):.2f} s "
        f"(99 %), {waits[-1]:.2f} s (longest)"
    )


def _quantile(values: Sequence[float], part: float) -> float:
    return values[min(int(len(values) * part), len(values) - 1)]


async def soak(backend: Backend, seconds: float, seed: int) -> list[str]:
    """Let it go on for so long with one backend; return the faults."""
    what = Turmoil(sessions=8, clients=64, calm_s=CALM_S, lasts_s=seconds, pause_s=PAUSE_S)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_place(backend, Path(folder), lease_s=LEASE_S) as place,
        open_workers(place, 4) as workers,
    ):
        outcome = await endure(place, workers, what, seed=seed)
    print(f"{backend}: {describe(outcome)}", flush=True)  # noqa: T201
    return outcome.faults()


def main(arguments: Sequence[str]) -> int:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=240, help="of all backends together")
    parser.add_argument(
        "--backend", nargs="+", choices=["json", "redis"], default=["json", "redis"]
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random choices")
    options = parser.parse_args(arguments)
    # So that no worker is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    faults: list[str] = []
    for backend in options.backend:
        each_s = options.seconds / len(options.backend)
        faults += anyio.run(soak, backend, each_s, options.seed)
    print("\n".join(faults) or "nothing lost, doubled or out of order")  # noqa: T201
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
