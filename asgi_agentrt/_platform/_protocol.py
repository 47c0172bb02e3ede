"""What goes over the wire to the platform and back; no I/O happens here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import quote

import httpx

from .._config import PlatformConfig
from ..exceptions import PlatformError
from ._snapshot import Action, Snapshot

_ERROR_TEXT_LIMIT = 500


class ExchangeError(PlatformError):
    """One exchange that failed; the text names no URL, no header and nothing that was received.

    Attributes:
        retry_after_s: Seconds that the platform asked us to stay away; None when it did not.
        is_rejection: The platform knows us not, or not this address: hurrying is pointless.
    """

    def __init__(
        self, reason: str, *, retry_after_s: float | None = None, is_rejection: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.is_rejection = is_rejection


def instance_url(config: PlatformConfig, leaf: str) -> httpx.URL:
    """Return `{endpoint}/instances/{instance_id}/{leaf}` without the endpoint's user and password.

    A URL with a password would be written out by httpx's own log.
    """
    base, instance_id = httpx.URL(config.endpoint or ""), config.instance_id or ""
    # "." and ".." would be taken for steps in the path, and quote() leaves them alone.
    dotted = instance_id in (".", "..")
    name = instance_id.replace(".", "%2E") if dotted else quote(instance_id, safe="")
    raw_path = base.raw_path.rstrip(b"/") + f"/instances/{name}/{leaf}".encode()
    return base.copy_with(raw_path=raw_path, username=None, password=None)


def endpoint_login(config: PlatformConfig) -> tuple[str, str] | None:
    """Return user and password that are part of the endpoint's URL, or None."""
    url = httpx.URL(config.endpoint or "")
    return (url.username, url.password) if url.userinfo else None


def beat_body(
    snapshot: Snapshot, *, at: datetime, memory_mb: int, error: str | None
) -> dict[str, Any]:
    """Return the JSON of one heartbeat; `error` is there only when something is to be told."""
    body: dict[str, Any] = {
        "status": snapshot.status,
        "timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "metrics": {
            "active_sessions": snapshot.active_sessions,
            "total_requests": snapshot.total_requests,
            "memory_usage_mb": memory_mb,
        },
    }
    if error is not None:
        body["error"] = error[:_ERROR_TEXT_LIMIT]
    return body


def read_action(answer: bytes) -> Action | None:
    """Return what the answer to the config check asks for; None when it asks for nothing.

    Raises:
        ExchangeError: the answer is not of the agreed form.
    """
    if not answer:
        return None  # 204, or a platform that has nothing to say
    try:
        decoded: Any = json.loads(answer)
    except (ValueError, RecursionError):
        raise ExchangeError("the answer is not JSON") from None
    if not isinstance(decoded, dict):
        raise ExchangeError("the answer is not a JSON object")
    fields = cast(dict[str, object], decoded)
    updated = fields.get("updated", False)
    if not isinstance(updated, bool):
        raise ExchangeError('"updated" in the answer is not true or false')
    if not updated:
        return None
    match fields.get("action"):
        case "restart":
            return "restart"
        case "reload":
            return "reload"
        case "none":
            return None
        case _:
            raise ExchangeError('"action" in the answer is not restart, reload or none')


def check_status(status: int, headers: Mapping[str, str], *, now: datetime) -> None:
    """Accept any 2xx status.

    Raises:
        ExchangeError: it is another one; tells how long to stay away if the platform said so.
    """
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise ExchangeError(f"answered {status}, and redirects are not followed")
    stay_away = retry_after_s(headers.get("retry-after"), now=now) if status in (429, 503) else None
    raise ExchangeError(
        f"answered {status}",
        retry_after_s=stay_away,
        is_rejection=status in (401, 403, 404, 410),
    )


def retry_after_s(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header means; None for none and for nonsense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value, now=now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(http_date: str, *, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
        # A date without a zone is in UTC: RFC 9110 knows no other.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
