"""Read a request's body within its limits."""

from __future__ import annotations

import anyio

from .._types import Receive, Scope
from ._answers import HTTPError


class ClientLeftError(Exception):
    """The client went away before its request was complete."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request header, several of the name joined with commas; None without any."""
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return b",".join(values).decode("latin-1") if values else None


async def read_json_body(
    scope: Scope, receive: Receive, *, limit_bytes: int, timeout_s: float
) -> bytes:
    """Return the body of a request that says it is JSON.

    Args:
        scope: The request.
        receive: Where its body comes from.
        limit_bytes: The most that is accepted, and the most that is kept in memory.
        timeout_s: Seconds that the client may let pass between two parts.

    Raises:
        HTTPError: not JSON by its headers, too large, or too slow.
        ClientLeftError: nobody waits for an answer.
    """
    _check_media_type(scope)
    _check_length(scope, limit_bytes)
    body = bytearray()
    while True:
        try:
            with anyio.fail_after(timeout_s):
                message = await receive()
        except TimeoutError:
            raise HTTPError(
                "INVALID_REQUEST", f"the body stopped for more than {timeout_s:g} s"
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise _too_large(limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)


def _check_media_type(scope: Scope) -> None:
    """Insist on JSON: browsers send everything else to other sites without asking first."""
    media_type, _, parameters = (header(scope, b"content-type") or "").partition(";")
    kind = media_type.strip().lower()
    if not (
        kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
    ):
        raise HTTPError("UNSUPPORTED_MEDIA_TYPE", "Content-Type must be application/json")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in ("utf-8", "utf8"):
            raise HTTPError("UNSUPPORTED_MEDIA_TYPE", "JSON must be sent as UTF-8")
    if (header(scope, b"content-encoding") or "identity").strip().lower() != "identity":
        raise HTTPError("UNSUPPORTED_MEDIA_TYPE", "Content-Encoding is not supported")


def _check_length(scope: Scope, limit_bytes: int) -> None:
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdecimal() and int(announced[:20]) > limit_bytes:
        raise _too_large(limit_bytes)


def _too_large(limit_bytes: int) -> HTTPError:
    return HTTPError("PAYLOAD_TOO_LARGE", f"the body is larger than {limit_bytes} bytes")
