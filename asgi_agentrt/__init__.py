"""Serve an AgentScope project inside any web app: `app.mount("/agent", AgentRuntimeASGI(…))`."""

from ._app_base import AgentApp, SessionContext
from ._message import Msg
from ._runtime import Runtime, runtime
from ._server import AgentRuntimeASGI, AgentRuntimeMiddleware, host_user

__all__ = [
    "AgentApp",
    "AgentRuntimeASGI",
    "AgentRuntimeMiddleware",
    "Msg",
    "Runtime",
    "SessionContext",
    "host_user",
    "runtime",
]
