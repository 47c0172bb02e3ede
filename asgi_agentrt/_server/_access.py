"""Who may call, and who the caller is."""

from __future__ import annotations

import hmac
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .._config import ServerConfig
from .._session import make_key
from .._types import Scope
from ._answers import HTTPError
from ._body import header

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

logger = logging.getLogger(__name__)

Identity: TypeAlias = Callable[["HTTPConnection"], str | Awaitable[str | None] | None]
"""Says who sent a request: the user's id, or None for nobody; it may be async."""


def check_api_key(scope: Scope, server: ServerConfig) -> None:
    """Insist on the configured key, if there is one.

    Raises:
        HTTPError: UNAUTHORIZED.
    """
    if server.api_key is None:
        return
    scheme, _, key = (header(scope, b"authorization") or "").partition(" ")
    given = key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
    if not hmac.compare_digest(given, server.api_key.encode()):
        raise HTTPError(
            "UNAUTHORIZED", "a valid API key is required", [(b"www-authenticate", b"Bearer")]
        )


async def identify(identity: Identity | None, scope: Scope) -> str | None:
    """Return the id of the user who sent a request; None where nobody is asked.

    Raises:
        HTTPError: UNAUTHORIZED when the request is nobody's, INVALID_REQUEST when its user's id
            cannot be one, INTERNAL when asking failed.
    """
    if identity is None:
        return None
    from starlette.requests import HTTPConnection  # noqa: PLC0415  only who asks needs it

    try:
        user_id: Any = cast(Any, identity)(HTTPConnection(scope))
        if inspect.isawaitable(user_id):
            user_id = await user_id
    except Exception:
        logger.exception("the identity function failed")
        raise HTTPError("INTERNAL", "the user could not be identified") from None
    if not user_id:
        raise HTTPError("UNAUTHORIZED", "a user must be logged in")
    if not isinstance(user_id, str):
        kind = type(user_id).__qualname__
        logger.error("the identity function returned a value of type %s", kind)
        raise HTTPError("INTERNAL", "the user could not be identified")
    try:
        return make_key("-", user_id).user_id
    except ValueError as error:  # not the host's fault: it may come from a header
        raise HTTPError("INVALID_REQUEST", str(error)) from None


def host_user(request: HTTPConnection) -> str | None:
    """Return the id of the user that the host's own login has put into `scope["user"]`.

    Knows the users of Starlette's `AuthenticationMiddleware` (`identity`, else `display_name`) and
    of Django (`pk`). None for a user who is not logged in, and where there is no such middleware.
    """
    user = request.scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    for name in ("pk", "identity", "display_name"):
        try:
            value = getattr(user, name, None)
        except NotImplementedError:  # what Starlette's users do not say
            continue
        if value is not None:
            return str(value)
    return None
