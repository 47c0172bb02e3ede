"""What `make` and `.ci/run` ask for: `python .ci/tasks.py COMMAND`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import PIPE, STDOUT

from environments import HOME, ROOT, Environment, demo, lint, suites, uv

NOTHING_COLLECTED = 5
# As pytest orders them; what it counts and is not named here keeps its place at the end.
OUTCOMES = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")


def check(_: argparse.Namespace) -> int:
    """Run every check, also when one before it failed."""
    env = lint()
    env.make()
    commands = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy", "asgi_agentrt", ".ci"],
        ["pyright", "--pythonpath", env.program("python")],
    ]
    return max(_echo([env.program(name), *rest]) for name, *rest in commands)


def fmt(_: argparse.Namespace) -> int:
    """Format, and mend what can be mended by itself."""
    env = lint()
    env.make()
    return max(_echo([env.program("ruff"), *rest]) for rest in (["check", "--fix"], ["format"]))


def show(_: argparse.Namespace) -> int:
    """List the environments that tests run in."""
    for env in suites():
        print(f"{env.name:14}{env.python}  pytest {' '.join(env.pytest)}")
    return 0


def test(options: argparse.Namespace) -> int:
    """Run the suites of the environments and add up what pytest counts."""
    chosen = [env for env in suites() if not options.only or env.name in options.only]
    if not chosen:
        sys.exit(f"no such environment; there are: {', '.join(env.name for env in suites())}")
    began, counts, status = time.monotonic(), Counter[str](), 0
    for old in ROOT.glob(".coverage*") if options.cover else ():
        old.unlink()
    jobs = min(options.jobs, len(chosen))
    uv()  # installed once, before several ask for it
    signal.signal(signal.SIGTERM, _interrupt)
    with ThreadPoolExecutor(jobs) as pool:
        for code, counted in pool.map(partial(_pytest, options, quietly=jobs > 1), chosen):
            status = max(status, abs(code))  # a signal is a negative one
            counts += counted
    if options.cover:
        status = max(status, _coverage(chosen[0]))
    line = _summary(counts, time.monotonic() - began)
    if options.summary:
        options.summary.write_text(line + "\n")
    print(line)
    return status


def run_demo(options: argparse.Namespace) -> int:
    """Run the demo of `examples/local_llm`."""
    env = demo()
    env.make()
    command = [env.program("python"), "examples/local_llm/demo.py"]
    return subprocess.run(command + ["--keep"] * options.keep, cwd=ROOT, check=False).returncode


def _pytest(
    options: argparse.Namespace, env: Environment, *, quietly: bool
) -> tuple[int, Counter[str]]:
    """Make an environment and run its tests; return the exit code and what was counted.

    `quietly` holds the output back until the end, for when others run at the same time; in
    `.venv/logs` it can be followed.
    """
    # Paths that were asked for take the place of the environment's own.
    chosen = any((ROOT / argument.partition("::")[0]).exists() for argument in options.rest)
    arguments = [*(env.pytest[1:] if chosen else env.pytest), *options.rest]
    if _stopping.is_set():
        return 1, Counter()
    print(f"\n{env.name}: pytest {' '.join(arguments)}", flush=True)
    try:
        env.make()
    except subprocess.CalledProcessError as error:
        print(f"{env.name} could not be made: {error}", flush=True)
        return 1, Counter(error=1)
    measure = ["-m", "coverage", "run"] if options.cover and env.is_measured else []
    command = [env.program("python"), *measure, "-m", "pytest", "--color=no", *arguments]
    counted = Counter[str]()
    path = HOME / "logs" / f"{env.name}.txt"
    path.parent.mkdir(exist_ok=True)
    with (
        path.open("w", encoding="utf-8", buffering=1) as log,
        subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True) as running,
    ):
        _running.append(running)
        for line in running.stdout or ():
            log.write(line)
            if not quietly:
                print(line, end="", flush=True)
            if found := re.fullmatch(r"(?:=+ )?(\d+ \w+.*) in [\d.]+s\b.*\s*", line):
                counted = _counts(found[1])
    if quietly:
        print(f"\n{env.name}:\n{path.read_text(encoding='utf-8')}", end="", flush=True)
    # With a selection it is no fault that an environment has nothing to run; without one it is.
    if running.returncode == NOTHING_COLLECTED and options.rest:
        return 0, counted
    if running.returncode and not counted:
        counted["error"] = 1  # pytest itself did not come to its last line
    return running.returncode, counted


def soak(options: argparse.Namespace) -> int:
    """Cut off many runs on each event loop and print what they leave."""
    env = suites()[0]
    env.make()
    command = [env.program("python"), "-m", "tests.soak", "--runs", str(options.runs), "--loop"]
    return max(_echo([*command, loop]) for loop in ("asyncio", "trio"))


_running: list[subprocess.Popen[str]] = []
_stopping = threading.Event()


def _interrupt(*_: object) -> None:
    """Pass a termination on as an interrupt, on which pytest ends what its tests have started."""
    _stopping.set()
    for process in _running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)


def soak_sessions(options: argparse.Namespace) -> int:
    """Kill and pause workers that share their sessions while clients call them."""
    env = suites()[0]
    env.make()
    module = [env.program("python"), "-m", "tests.workers.soak"]
    return _echo([*module, "--seconds", str(options.seconds)])


def bench_sessions(_: argparse.Namespace) -> int:
    """Time the session stores beside AgentScope 1.x's."""
    env = next(env for env in suites() if env.name == "agentscope1")
    env.make()
    return _echo([env.program("python"), "-m", "benchmarks.sessions"])


def _counts(text: str) -> Counter[str]:
    pairs = re.findall(r"(\d+) (\w+)", text)
    return Counter({name.removesuffix("s") if name != "passed" else name: int(count)
                    for count, name in pairs})  # fmt: skip


def _summary(counts: Counter[str], seconds: float) -> str:
    """Return what pytest's last line would be had it run everything at once."""
    names = [*OUTCOMES, *(name for name in counts if name not in OUTCOMES)]
    parts = [
        f"{counts[name]} {name}{'s' if name in ('error', 'warning') and counts[name] > 1 else ''}"
        for name in names
        if counts[name]
    ]
    return f" {', '.join(parts) or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def _coverage(env: Environment) -> int:
    """Print what all environments have covered together; fail below the floor."""
    coverage = [env.program("python"), "-m", "coverage"]
    return _echo([*coverage, "combine", "--quiet"]) or _echo([*coverage, "report"])


def _echo(command: Sequence[str]) -> int:
    print("+", Path(command[0]).name, *command[1:], flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Read the command line and run what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, function in {"check": check, "fmt": fmt, "list": show}.items():
        commands.add_parser(name, help=function.__doc__).set_defaults(function=function)
    tests = commands.add_parser("test", help=test.__doc__)
    tests.add_argument("--only", nargs="+", help="names of environments")
    tests.add_argument(
        "--jobs", type=int, default=min(2, os.cpu_count() or 1), help="environments at a time"
    )
    tests.add_argument("--cover", action="store_true", help="measure coverage, of all together")
    tests.add_argument("--summary", type=Path, help="file that gets the last line, too")
    tests.add_argument("rest", nargs="*", help="arguments for pytest, after --")
    tests.set_defaults(function=test)
    soaking = commands.add_parser("soak", help=soak.__doc__)
    soaking.add_argument("--runs", type=int, default=10_000, help="how many, on each event loop")
    soaking.set_defaults(function=soak)
    sessions = commands.add_parser("soak-sessions", help=soak_sessions.__doc__)
    sessions.add_argument("--seconds", type=float, default=240, help="how long, altogether")
    sessions.set_defaults(function=soak_sessions)
    benchmark = commands.add_parser("bench-sessions", help=bench_sessions.__doc__)
    benchmark.set_defaults(function=bench_sessions)
    demonstration = commands.add_parser("demo", help=run_demo.__doc__)
    demonstration.add_argument("--keep", action="store_true", help="serve until interrupted")
    demonstration.set_defaults(function=run_demo)
    options = parser.parse_args(arguments)
    status: int = options.function(options)
    return status


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # the environments hold what is meant to be imported
    sys.exit(main(sys.argv[1:]))
