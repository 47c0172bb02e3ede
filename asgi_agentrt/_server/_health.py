"""GET /health and its two short forms; none of them waits for anything."""

from __future__ import annotations

from functools import cache
from typing import Any

from .._runtime import Runtime
from .._types import Send
from ._answers import encode_body, send_json
from ._instance import Instance

_SERVING = ("healthy", "degraded")


@cache
def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415  loads 20 modules

    try:
        return version("asgi-agentrt")
    except PackageNotFoundError:  # the sources alone
        return "unknown"


async def health(instance: Instance, send: Send, *, is_head: bool) -> None:
    """Answer with the state of everything; 200 when invocations are served, else 503."""
    status = instance.status
    body: dict[str, Any] = {
        "status": status,
        "instance_id": None,
        "uptime": int(instance.uptime_s),
        "version": _own_version(),
        "started_by": instance.started_by,
    }
    if instance.runtime is not None:
        body |= _parts(instance.runtime)
    await _answer(send, body, is_fine=status in _SERVING, is_head=is_head)


async def live(send: Send, *, is_head: bool) -> None:
    """Answer 200: this process handles requests."""
    await _answer(send, {"status": "alive"}, is_fine=True, is_head=is_head)


async def ready(instance: Instance, send: Send, *, is_head: bool) -> None:
    """Answer 200 when invocations are served, else 503."""
    status = instance.status
    await _answer(send, {"status": status}, is_fine=status in _SERVING, is_head=is_head)


def _parts(runtime: Runtime) -> dict[str, Any]:
    """Return one entry for each part that the configuration names; nothing that may be secret."""
    generation = runtime.generation
    if generation is None:
        return {}
    return {
        "instance_id": generation.config.platform.instance_id,
        "generation": generation.number,
        "models": dict.fromkeys(generation.models, "open"),
        "mcp_servers": {server.name: server.state for server in generation.servers},
        "session": {
            "backend": generation.config.session.backend,
            "state": generation.sessions.state,
        },
    }


async def _answer(send: Send, body: Any, *, is_fine: bool, is_head: bool) -> None:
    headers = () if is_fine else ((b"retry-after", b"1"),)
    await send_json(send, 200 if is_fine else 503, encode_body(body), headers, is_head=is_head)
