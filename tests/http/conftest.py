"""Real servers, one of a kind for all tests of this folder."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from tests.support.process import Process, uvicorn

Served: TypeAlias = tuple[Process, str]
Serve: TypeAlias = Callable[..., Served]

# The two HTTP parsers of uvicorn, each with another event loop; not every environment has both.
IMPLEMENTATIONS = {"h11": ("--http", "h11", "--loop", "asyncio")}
if importlib.util.find_spec("httptools") and importlib.util.find_spec("uvloop"):
    IMPLEMENTATIONS["httptools"] = ("--http", "httptools", "--loop", "uvloop")


@pytest.fixture(scope="session", params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> str:
    """A parser of uvicorn's."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def serve(implementation: str) -> Generator[Serve]:
    """Return a function that serves `tests.http.served`, once for each configuration."""
    started: dict[str, Served] = {}
    with ExitStack() as stack:

        def start(what: str = "root", **config: Any) -> Served:
            key = json.dumps([what, config], sort_keys=True)
            if key not in started:
                started[key] = stack.enter_context(
                    uvicorn(
                        f"tests.http.served:{what}",
                        *IMPLEMENTATIONS[implementation],
                        *("--no-date-header", "--no-server-header", "--no-access-log"),
                        env={"SERVED_CONFIG": json.dumps(config)},
                    )
                )
            return started[key]

        yield start


@pytest.fixture
def served(serve: Serve) -> Served:
    """A server with the default configuration."""
    return serve()
