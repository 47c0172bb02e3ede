"""How long importing, mounting and starting takes, beside importing what it is built on.

`python benchmarks/start.py [ROUNDS]`: each figure comes from fresh interpreters, the contestants
by turns; prints medians in milliseconds and ratios to the first.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "examples" / "plain_function"

CONTESTANTS = {
    "import starlette, httpx, yaml": "import starlette.applications, httpx, yaml",
    "import asgi_agentrt": "import asgi_agentrt",
    "import, mount and start a project": f"""
import anyio
from starlette.applications import Starlette
from asgi_agentrt import AgentRuntimeASGI
agent = AgentRuntimeASGI({str(PROJECT)!r}, config={{"session": {{"backend": "memory"}}}})
host = Starlette()
host.mount("/agent", agent)
async def main():
    await agent.start()
    started.append(time.perf_counter())
    await agent.stop()
anyio.run(main)
""",
}
TIMED = """
import time
started = []
began = time.perf_counter()
{code}
print(((started or [time.perf_counter()])[0] - began) * 1000)
"""


def measure(code: str) -> float:
    """Run code in a fresh interpreter; return its milliseconds."""
    command = [sys.executable, "-c", TIMED.format(code=code)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for code in CONTESTANTS.values():
        measure(code)  # so that bytecode is there
    taken: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, code in CONTESTANTS.items():
            taken[name].append(measure(code))
    baseline = statistics.median(next(iter(taken.values())))
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:36}{median:7.0f} ms {median / baseline:6.2f}")


if __name__ == "__main__":
    main()
