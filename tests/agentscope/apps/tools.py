"""A project's app that looks at its run's toolkit, and may add to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from asgi_agentrt import AgentApp, SessionContext, runtime


async def secret() -> Any:
    """Nobody else's business."""


if version("agentscope").startswith("1."):

    async def add(toolkit: Any) -> None:
        toolkit.create_tool_group("mine", "This run's own.", active=True)
        toolkit.register_tool_function(secret, group_name="mine")

    async def names(toolkit: Any) -> list[str]:
        tools = [schema["function"]["name"] for schema in toolkit.get_json_schemas()]
        return [*tools, *(f"group {name}" for name in toolkit.groups)]

else:
    from agentscope.tool import FunctionTool

    async def add(toolkit: Any) -> None:
        await toolkit.add_tool(FunctionTool(secret))

    async def names(toolkit: Any) -> list[str]:
        return [schema["function"]["name"] for schema in await toolkit.get_tool_schemas()]


class App(AgentApp):
    async def __call__(self, msg: dict[str, Any], ctx: SessionContext) -> AsyncIterator[Any]:
        if msg["content"] == "add":
            await add(runtime.tools)
        yield ",".join(await names(runtime.tools))
        yield ",".join(await names(runtime.tools))  # once somebody else had the floor
