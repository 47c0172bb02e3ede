"""Server-sent events: the bytes of a frame.

sse-starlette's encoder writes every kind of frame. Its package is not imported: doing so replaces
`uvicorn.Server.handle_exit` for the whole process, and a guest must leave its host alone. The one
module that holds the encoder is loaded by its file. Messages, the hot path, are one line of JSON
under a number, for which a format string does.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def _load_encoder() -> Any:
    package = importlib.util.find_spec("sse_starlette")  # finds it without importing it
    if package is None or not package.submodule_search_locations:
        raise ImportError("sse-starlette is not installed", name="sse_starlette")
    file = Path(package.submodule_search_locations[0], "event.py")
    spec = importlib.util.spec_from_file_location(f"{__name__}_encoder", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded", name="sse_starlette.event")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ServerSentEvent


_ServerSentEvent = _load_encoder()


def comment(text: str) -> bytes:
    """Return a frame that clients skip: it shows proxies, and servers, that the stream lives."""
    frame: bytes = _ServerSentEvent(comment=text, sep="\n").encode()
    return frame


def event(number: int, data: bytes) -> bytes:
    """Return the frame of an event; `data` must not hold a line break, as compact JSON does not."""
    return b"id: %d\ndata: %b\n\n" % (number, data)


PING = comment("ping")
