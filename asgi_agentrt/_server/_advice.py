"""The line that a host's author should add, for the host that is found in a request's scope."""

from __future__ import annotations

from .._types import Scope


def how_to_wire(scope: Scope) -> str:
    """Return what to write in the host, in one line."""
    if "litestar_app" in scope:
        return "pass `Litestar(lifespan=[agent.lifespan])`"
    if "url_route" in scope:
        return 'wrap the application: `AgentRuntimeMiddleware(application, agent, path="/agent")`'
    app: object = scope.get("app")
    host = type(app)
    framework = host.__module__.partition(".")[0]
    if framework in ("fastapi", "starlette"):
        return (
            f"pass `{host.__name__}(lifespan=agent.lifespan)`,"
            ' or use `agent.attach(app, "/agent")` instead of `app.mount`'
            " (a server that sends no lifespan, like daphne, needs nothing)"
        )
    return (
        "enter `agent.lifespan()` in the host's lifespan, or wrap the host:"
        ' `AgentRuntimeMiddleware(host, agent, path="/agent")`'
    )
