"""AgentScope is found without an import, imported when it is needed, and missed in clear words."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import subprocess
import sys
from typing import Any

import pytest

from asgi_agentrt._agentscope import (
    Adapter,
    installed_generation,
    load_adapter,
    quiet_logging,
    require_asyncio,
)
from asgi_agentrt.exceptions import MissingExtraError, StartupError


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    def find(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", find)


@pytest.mark.parametrize(("version", "generation"), [("1.0.21", 1), ("2.0.10", 2), (None, None)])
def test_the_generation_is_the_installed_version(
    monkeypatch: pytest.MonkeyPatch, version: str | None, generation: int | None
) -> None:
    pretend(monkeypatch, version)
    assert installed_generation() == generation


def test_a_generation_to_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "3.0.0")
    with pytest.raises(StartupError, match=r"^agentscope: version 3\.0\.0 is not supported"):
        load_adapter()


def test_without_agentscope_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, None)
    with pytest.raises(MissingExtraError, match=r'pip install "asgi-agentrt\[agentscope\]"$'):
        load_adapter()


@pytest.mark.parametrize(
    ("version", "extra"), [("1.0.21", "agentscope1"), ("2.0.10", "agentscope")]
)
def test_a_broken_installation_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, version: str, extra: str
) -> None:
    """As 1.0.21 is without its pins: tqdm, greenlet, an older mcp."""
    pretend(monkeypatch, version)
    module = f"asgi_agentrt._agentscope._v{version[0]}"

    def fail(name: str) -> Any:
        assert name == module
        raise ModuleNotFoundError("No module named 'tqdm'", name="tqdm")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(StartupError) as caught:
        load_adapter()
    assert str(caught.value) == (
        f"agentscope: version {version} cannot be imported (No module named 'tqdm'):"
        f' pip install "asgi-agentrt[{extra}]"'
    )


def test_the_adapter_is_of_the_installed_generation(adapter: Adapter) -> None:
    assert adapter.generation == installed_generation()


def test_nothing_of_agentscope_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys; import asgi_agentrt.agentscope, asgi_agentrt._providers;"
        "from asgi_agentrt._agentscope import installed_generation; installed_generation();"
        "sys.exit(any(name.partition('.')[0] in ('agentscope', 'mcp') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_loading_leaves_the_root_logger_alone(adapter: Adapter) -> None:
    program = (
        "import logging; from asgi_agentrt._agentscope import load_adapter; load_adapter();"
        "root = logging.getLogger(); assert not root.handlers and root.level == logging.WARNING"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_agentscopes_logger_can_be_handed_to_the_root(adapter: Adapter) -> None:
    logger = logging.getLogger("as")
    handlers, propagate = list(logger.handlers), logger.propagate
    try:
        quiet_logging()
        assert (logger.handlers, logger.propagate) == ([], True)
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_will_do() -> None:
    require_asyncio()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_refused() -> None:
    with pytest.raises(StartupError, match="AgentScope needs asyncio"):
        require_asyncio()


def test_outside_of_any_loop_is_refused_too() -> None:
    with pytest.raises(StartupError, match="AgentScope needs asyncio"):
        require_asyncio()
