"""The ASGI side: the app, the ways to host it, and HTTP."""

from ._access import Identity, host_user
from ._asgi import AgentRuntimeASGI
from ._middleware import AgentRuntimeMiddleware

__all__ = ["AgentRuntimeASGI", "AgentRuntimeMiddleware", "Identity", "host_user"]
