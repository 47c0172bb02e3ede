"""Where workers keep their sessions, and what stands there when nobody is at work."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from asgi_agentrt._config import SessionConfig
from asgi_agentrt._session import SessionKey, Sessions, open_store
from asgi_agentrt._session._key import encode_key
from tests.support.redis_server import redis_server

Backend: TypeAlias = Literal["json", "redis"]


class Place:
    """A store that processes share.

    Attributes:
        section: The `session` section that names it.
    """

    def __init__(self, section: Mapping[str, Any]) -> None:
        self.section = section
        self._config = replace(SessionConfig(), **section)

    async def log(self, session_id: str) -> list[tuple[str, str]]:
        """Return the turns of a session, each as token and run id."""
        async with open_store(self._config, Path()) as store:
            state = await Sessions(store).load_context_state(SessionKey("", session_id))
        return [(token, run_id) for token, run_id in state.get("log", [])]

    async def count_in_line(self, session_id: str) -> int:
        """Return how many stand in the line of a session."""
        name = encode_key(SessionKey("", session_id))
        if self._config.backend == "json":
            try:
                text = (Path(self._config.save_dir) / ".lines" / f"{name}.line").read_text()
            except FileNotFoundError:
                return 0
            return len(json.loads(text)["line"])
        import redis.asyncio

        async with redis.asyncio.from_url(str(self._config.url)) as client:
            return len(json.loads(await client.get(f"asgi_agentrt:{{{name}}}:line") or "[]"))


@contextmanager
def open_place(backend: Backend, folder: Path, *, lease_s: float) -> Generator[Place]:
    """Make a place that is gone after the block."""
    if backend == "json":
        yield Place({"backend": "json", "save_dir": str(folder), "lease": lease_s})
        return
    with redis_server() as server:
        yield Place({"backend": "redis", "url": server.url, "lease": lease_s})
