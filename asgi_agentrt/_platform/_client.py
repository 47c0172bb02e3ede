"""HTTP to the platform; the only place that knows httpx's errors."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Generator
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx

from .._config import PlatformConfig
from ._protocol import (
    ExchangeError,
    check_status,
    endpoint_login,
    instance_url,
    read_action,
)
from ._snapshot import Action

_ANSWER_LIMIT_BYTES = 64 * 1024
_PHASE_LIMIT_S = 5.0


class _Credentials(httpx.Auth):
    """The token as Bearer; without one, the endpoint's own user and password."""

    def __init__(self, token: str | None, login: tuple[str, str] | None) -> None:
        self._token = token
        self._basic = httpx.BasicAuth(*login) if login else None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        elif self._basic is not None:
            yield from self._basic.auth_flow(request)
            return
        yield request


async def load_certificates() -> ssl.SSLContext:
    """Return what HTTPS is checked against; reading it takes too long for the event loop."""
    try:
        return await anyio.to_thread.run_sync(httpx.create_ssl_context)
    except Exception as error:  # noqa: BLE001 (files named by the environment)
        name = type(error).__name__
        raise ExchangeError(f"the certificates cannot be loaded ({name})") from None


class PlatformClient:
    """Talks to one platform about one instance; an async context manager, entered once.

    Every call ends within `limit_s` seconds, reads at most 64 KiB, follows no redirect and
    raises ExchangeError for whatever goes wrong, the constructor included.
    """

    def __init__(
        self,
        config: PlatformConfig,
        *,
        limit_s: float,
        utc_now: Callable[[], datetime],
        certificates: ssl.SSLContext,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._beat_url = instance_url(config, "heartbeat")
        self._config_url = instance_url(config, "config")
        self._limit_s = limit_s
        self._utc_now = utc_now
        try:
            self._http = httpx.AsyncClient(
                auth=_Credentials(config.token, endpoint_login(config)),
                # Unpacked, 64 KiB may be gigabytes.
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=min(_PHASE_LIMIT_S, limit_s),
                limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
                follow_redirects=False,
                verify=certificates,
                transport=transport,
            )
        except Exception as error:  # noqa: BLE001 (proxies named by the environment)
            name = type(error).__name__
            raise ExchangeError(f"the HTTP client cannot be set up ({name})") from None
        # Whatever the platform would have us remember, we do not.
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(exc_type, exc_value, traceback)

    async def send_beat(self, body: dict[str, Any]) -> None:
        """Deliver one heartbeat; what the platform answers with does not matter."""
        await self._exchange("POST", self._beat_url, body)

    async def fetch_action(self) -> Action | None:
        """Ask whether the platform wants something done."""
        return read_action(await self._exchange("GET", self._config_url, None))

    async def _exchange(self, method: str, url: httpx.URL, body: dict[str, Any] | None) -> bytes:
        try:
            with anyio.fail_after(self._limit_s):
                return await self._request(method, url, body)
        except ExchangeError:
            raise
        except (httpx.TimeoutException, TimeoutError):
            raise ExchangeError(f"no answer within {self._limit_s:g} seconds") from None
        except httpx.ConnectError:
            raise ExchangeError("cannot connect") from None
        except Exception as error:  # noqa: BLE001 (the app pays for no fault of the platform)
            # Only the type: texts of httpx and h11 quote header values and URLs.
            raise ExchangeError(f"the exchange broke off ({type(error).__name__})") from None

    async def _request(self, method: str, url: httpx.URL, body: dict[str, Any] | None) -> bytes:
        async with self._http.stream(method, url, json=body) as response:
            check_status(response.status_code, response.headers, now=self._utc_now())
            return await _read(response)


async def _read(response: httpx.Response) -> bytes:
    if response.is_stream_consumed:
        return response.content  # from a transport in memory
    answer = bytearray()
    try:
        async for chunk in response.aiter_raw():
            answer += chunk
            if len(answer) > _ANSWER_LIMIT_BYTES:
                # Closed and then read to its end, which comes at once: the generators below
                # cannot be closed from here, and trio complains of half-read ones.
                await response.aclose()
    except httpx.HTTPError:
        if len(answer) <= _ANSWER_LIMIT_BYTES:
            raise
    if len(answer) > _ANSWER_LIMIT_BYTES:
        raise ExchangeError(f"the answer is longer than {_ANSWER_LIMIT_BYTES} bytes")
    return bytes(answer)
