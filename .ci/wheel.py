"""Build the wheel and try it as a user has it: in a clean environment, away from the sources."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import Any

from environments import HOME, ROOT, install, lint, make_venv, pythons, run, uv

LIMIT_S = 60


def build() -> Path:
    """Build the wheel and return its path; its version is the changelog's newest."""
    folder = HOME / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    if found := uv():
        run([found, "build", "--quiet", "--wheel", "--out-dir", str(folder)])
    else:
        python = str(pythons()[0])
        run([python, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)])
    [wheel] = folder.glob("*.whl")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d\S*)\]", changelog, re.MULTILINE)
    assert newest is not None
    assert wheel.name.split("-")[1] == newest[1], f"{wheel.name} is not the changelog's {newest[1]}"
    return wheel


def bare(folder: Path, elsewhere: Path) -> None:
    """Without any extra: it imports, shows its help, and names the extra that serving needs."""
    code = "import asgi_agentrt, sys; print(len(sys.modules), asgi_agentrt.__file__)"
    count, _, file = _output([folder / "bin/python", "-c", code], elsewhere).partition(" ")
    print(f"import asgi_agentrt loads {count} modules")
    package = Path(file.strip()).parent
    assert package.is_relative_to(folder), f"imported from {package}"
    assert (package / "py.typed").is_file()
    agentrt = folder / "bin/agentrt"
    assert "validate" in _output([agentrt, "--help"], elsewhere)
    project = shutil.copytree(ROOT / "examples/plain_function", elsewhere / "project")
    failed = subprocess.run(
        [agentrt, "run", project], cwd=elsewhere, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1, failed
    assert "asgi-agentrt[server]" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr, failed.stderr


def served(folder: Path, elsewhere: Path) -> None:
    """With a server: it answers a call, and ends when it is told to."""
    project = elsewhere / "project"
    (project / "asgi.py").write_text(
        "from asgi_agentrt import AgentRuntimeASGI\napp = AgentRuntimeASGI()\n"
    )
    command = [str(folder / "bin/python"), "-m", "uvicorn", "asgi:app", "--port", "0"]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        alarm = threading.Timer(LIMIT_S, server.kill)
        alarm.start()
        lines: list[str] = []
        try:
            for line in server.stdout or ():
                lines.append(line)
                if address := re.search(r"running on (http://\S+)", line):
                    answer = _invoke(address[1])
                    break
            else:
                raise AssertionError("".join(lines))
            assert "Good morning" in "".join(event["content"] for event in answer), answer
            assert answer[-1]["metadata"] == {"done": True}, answer
        finally:
            server.terminate()
            alarm.cancel()
            try:
                rest, _ = server.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                server.kill()
                raise
        assert "Traceback" not in rest, rest


def typed(folder: Path) -> None:
    """Let pyright say whether every public name has a type."""
    env = lint()
    env.make()
    done = subprocess.run(
        [env.program("pyright"), "--verifytypes", "asgi_agentrt", "--ignoreexternal"],
        cwd=folder,
        # It asks the first python of PATH where packages are, whatever --pythonpath says.
        env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(*re.findall("Type completeness score.*", done.stdout))
    assert done.returncode == 0, done.stdout + done.stderr


def main() -> None:
    """Build and try it."""
    wheel = build()
    folder = HOME / "envs" / "wheel"
    with tempfile.TemporaryDirectory() as name:
        elsewhere = Path(name)
        make_venv(pythons()[0], folder)
        install(folder, [str(wheel)])
        bare(folder, elsewhere)
        typed(folder)
        install(folder, [f"{wheel}[server]"])
        served(folder, elsewhere)
    print(f"{wheel.name} works")


def _output(command: list[Path | str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _invoke(address: str) -> list[dict[str, Any]]:
    message = {"name": "user", "content": "Good morning", "role": "user"}
    request = urllib.request.Request(
        f"{address}/invoke",
        json.dumps({"session_id": "s1", "message": message}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        text = answer.read().decode()
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # only what is installed counts
    main()
