"""The toolkit of all MCP servers: names, runs of their own, servers that come and go, an agent."""

from __future__ import annotations

import contextlib
import inspect
import json
import time
import warnings
from typing import Any

import anyio
import pytest

from asgi_agentrt._agentscope._mcp import McpServer
from tests.support import mcp_harness as harness
from tests.support import scripted_llm
from tests.support.mcp_harness import LAZY, LIMIT_S, http, running, stdio, tools_module, until
from tests.support.mcp_server import McpProcess, mcp_process

pytestmark = [
    pytest.mark.skipif(not harness.GENERATION, reason="needs AgentScope"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
generation_1 = pytest.mark.skipif(harness.GENERATION != 1, reason="needs AgentScope 1.x")
generation_2 = pytest.mark.skipif(harness.GENERATION != 2, reason="needs AgentScope 2.x")


async def schemas(toolkit: Any) -> dict[str, dict[str, Any]]:
    """Return what a model is told about the tools, by name."""
    if harness.GENERATION == 1:
        found = toolkit.get_json_schemas()
    else:
        found = await toolkit.get_tool_schemas()
    return {one["function"]["name"]: one["function"] for one in found}


async def call(toolkit: Any, name: str, **arguments: Any) -> str:
    """Call a tool the way an agent does; in 2.x the state is put in front."""
    if harness.GENERATION == 1:
        block = {"type": "tool_use", "id": "1", "name": name, "input": arguments}
        made = toolkit.call_tool_function(block)
        responses = [one async for one in (await made if inspect.isawaitable(made) else made)]
        return str(responses[-1].content[-1]["text"])
    from agentscope.message import ToolCallBlock
    from agentscope.state import AgentState

    given = ToolCallBlock(id="1", name=name, input=json.dumps(arguments))
    responses = [one async for one in toolkit.call_tool(given, AgentState())]
    return f"{responses[-1].state.value}: {responses[-1].content[-1].text}"


def named(server: str, tool: str) -> str:
    return tool if harness.GENERATION == 1 else f"mcp__{server}__{tool}"


def said(text: str, state: str = "success") -> str:
    return text if harness.GENERATION == 1 else f"{state}: {text}"


async def test_the_tools_of_all_servers_are_in_one_toolkit_and_can_be_called() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        servers = [http(process, "web"), stdio("local", env={"EXTRA_TOOLS": "only_here"})]
        box = tools_module().toolbox(servers)
        async with running(*servers):
            known = await schemas(box.toolkit)
            assert known[named("web", "add")]["description"] == "Add two numbers."
            assert set(known[named("web", "add")]["parameters"]["properties"]) == {"a", "b"}
            assert named("local", "only_here") in known
            for toolkit in (box.toolkit, box.for_run()):
                assert await call(toolkit, named("web", "add"), a=2, b=3) == said("5")
                assert await call(toolkit, named("local", "only_here")) == said("only_here")


@generation_1
async def test_equal_names_are_renamed_by_the_order_of_the_config() -> None:
    """Whichever server comes up first, and again after one of them was away."""
    extra = {"EXTRA_TOOLS": "second_add"}
    with (
        anyio.fail_after(LIMIT_S),
        mcp_process("sse", started=False) as one,
        mcp_process("streamable_http") as two,
    ):
        servers = [http(one, "first"), http(two, "second"), stdio("third", env=extra)]
        box = tools_module().toolbox(servers)
        async with running(*servers):
            early = box.for_run()
            assert {"add", "third_add", "second_add"} <= set(await schemas(box.toolkit))
            await anyio.to_thread.run_sync(one.start)
            await until(servers[0], "up")
            names = ["add", "second_add", "third_add", "third_second_add"]
            assert [name for name in await schemas(box.toolkit) if "add" in name] == names
            pids = [await call(box.toolkit, name) for name in ("pid", "second_pid", "third_pid")]
            assert len(set(pids)) == 3
            # A run that began before keeps what it knows, under the names that it knows.
            assert await call(early, "pid") == pids[1]
            await anyio.to_thread.run_sync(one.kill)
            await until(servers[0], "down")
            await anyio.to_thread.run_sync(one.start)
            await until(servers[0], "up")
            assert [name for name in await schemas(box.toolkit) if "add" in name] == names
            assert await call(box.toolkit, "add", a=1, b=1) == "2"


@generation_2
async def test_equal_names_are_told_apart_by_their_servers() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as one, mcp_process("sse") as two:
        servers = [http(one, "a b"), http(two, "a.b")]
        box = tools_module().toolbox(servers)
        async with running(*servers):
            names = [name for name in await schemas(box.toolkit) if "pid" in name]
            assert names == ["mcp__a_b__pid", "mcp__a_b__pid_2"]
            assert len({await call(box.toolkit, name) for name in names}) == 2


async def test_the_tools_of_a_server_that_went_down_stay_and_say_so() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("streamable_http") as process:
        server = http(process)
        box = tools_module().toolbox([server])
        async with running(server):
            run = box.for_run()
            await anyio.to_thread.run_sync(process.kill)
            await until(server, "down")
            assert named("srv", "add") in await schemas(box.for_run())
            answer = await call(run, named("srv", "add"), a=1, b=1)
            assert "the MCP server srv is down" in answer
            assert answer.startswith(said("", "error") if harness.GENERATION == 2 else "Error: ")
            await anyio.to_thread.run_sync(process.start)
            await until(server, "up")
            assert await call(run, named("srv", "add"), a=1, b=1) == said("2")


async def test_the_tools_of_a_server_that_was_never_up_appear_when_it_comes() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse", started=False) as process:
        server = http(process)
        box = tools_module().toolbox([server])
        async with running(server):
            early = box.for_run()
            assert await schemas(early) == {}
            await anyio.to_thread.run_sync(process.start)
            await until(server, "up")
            assert named("srv", "add") in await schemas(box.for_run())
            if harness.GENERATION == 2:
                assert named("srv", "add") in await schemas(early)


async def test_a_silent_server_costs_the_listing_of_tools_nothing() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server = http(process, timing=LAZY)
        box = tools_module().toolbox([server])
        async with running(server):
            process.freeze()
            started = time.monotonic()
            for _ in range(20):
                assert named("srv", "add") in await schemas(box.for_run())
            assert time.monotonic() - started < 1


async def test_what_a_run_does_to_its_toolkit_stays_with_it() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server = http(process)
        box = tools_module().toolbox([server])
        async with running(server):
            add_function(box.toolkit, "shared")
            one, two = box.for_run(), box.for_run()
            assert "shared" in await schemas(one)
            add_function(one, "private")
            assert "private" in await schemas(one)
            assert "private" not in await schemas(two)
            assert "private" not in await schemas(box.toolkit)
            await remove_function(one, "shared")
            assert "shared" in await schemas(two)


def add_function(toolkit: Any, name: str) -> None:
    """Add a function to a toolkit, as an app does."""
    if harness.GENERATION == 1:
        from agentscope.tool import ToolResponse

        def function() -> Any:
            """Do something."""
            return ToolResponse(content=[])

        toolkit.register_tool_function(function, func_name=name)
    else:
        from agentscope.tool import FunctionTool

        toolkit.tool_groups[0].tools.append(FunctionTool(lambda: "", name=name, description="d"))


async def remove_function(toolkit: Any, name: str) -> None:
    """Remove it again."""
    if harness.GENERATION == 1:
        toolkit.remove_tool_function(name)
    else:
        await toolkit.remove_tool(name)


@generation_1
async def test_active_groups_of_one_run_never_show_in_another() -> None:
    box = tools_module().toolbox([])
    box.toolkit.create_tool_group("browsing", "Look at pages.")
    one, two = box.for_run(), box.for_run()
    one.load_state_dict({"active_groups": ["browsing"]})
    assert one.groups["browsing"].active
    assert not two.groups["browsing"].active
    assert not box.toolkit.groups["browsing"].active


@generation_1
async def test_a_function_of_the_app_keeps_its_name_before_any_server() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse", started=False) as process:
        server = http(process)
        box = tools_module().toolbox([server])
        add_function(box.toolkit, "add")
        async with running(server):
            await anyio.to_thread.run_sync(process.start)
            await until(server, "up")
            assert (await schemas(box.toolkit))["add"]["description"] == "Do something."
            assert await call(box.toolkit, "srv_add", a=1, b=1) == "2"


@generation_2
async def test_a_run_gets_the_groups_that_the_app_has_set_up() -> None:
    from agentscope.tool import FunctionTool, ToolGroup, Toolkit

    box = tools_module().toolbox([])
    tool = FunctionTool(lambda: "", name="look", description="d")
    box.toolkit.tool_groups.append(ToolGroup("browsing", "Look at pages.", tools=[tool]))
    run = box.for_run()
    assert "look" in {one["function"]["name"] for one in await run.get_tool_schemas(["browsing"])}
    # The tool that switches groups knows those of its own run.
    run.tool_groups.append(ToolGroup("drawing", "Draw."))
    for toolkit, groups in ((run, {"browsing", "drawing"}), (box.for_run(), {"browsing"})):
        found = {one["function"]["name"]: one for one in await toolkit.get_tool_schemas()}
        assert set(found["reset_tools"]["function"]["parameters"]["properties"]) == groups
    # People build toolkits of their own with the clients of this one.
    own = Toolkit(mcps=run.tool_groups[0].mcps)
    assert await own.get_tool_schemas() == []


@generation_2
@pytest.mark.parametrize(
    ("transport", "path"), [("sse", "/events"), ("streamable_http", "/v1/sse")]
)
async def test_the_transport_of_the_config_counts_and_not_the_end_of_the_url(
    transport: str, path: str
) -> None:
    with anyio.fail_after(LIMIT_S), mcp_process(transport, path) as process:
        server = http(process)
        async with running(server):
            assert (server.state, server.reason) == ("up", None)
            assert "add" in server.tools


@generation_2
@pytest.mark.parametrize("transport", ["sse", "streamable_http"])
def test_a_transport_that_agentscope_cannot_be_told_is_refused(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later AgentScope may choose the transport in another way than the one we know."""
    from agentscope.mcp import MCPClient

    monkeypatch.delattr(MCPClient, "_is_sse")
    fits, other = McpProcess("sse", "/sse"), McpProcess("sse", "/mcp")
    if transport == "streamable_http":
        fits, other = other, fits
    http(fits, transport=transport)
    with pytest.raises(ValueError, match=f"{transport} does not fit this url"):
        http(other, transport=transport)


@generation_2
@pytest.mark.parametrize(
    ("permission", "tool", "expected"),
    [
        ("allow", "add", "allow"),
        ("ask", "add", "ask"),
        ("deny", "add", "deny"),
        ("allow", "peek", "allow"),
        ("ask", "peek", "allow"),
        ("deny", "peek", "deny"),
    ],
)
async def test_the_config_says_what_an_agent_may_do(
    permission: str, tool: str, expected: str
) -> None:
    """`peek` is marked read-only by its server, which AgentScope takes for harmless."""
    from agentscope.permission import PermissionContext, PermissionEngine

    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server = http(process, permission=permission)
        box = tools_module().toolbox([server])
        async with running(server):
            found = await box.for_run().get_tool(f"mcp__srv__{tool}")
            decision = await PermissionEngine(PermissionContext()).check_permission(found, {})
            assert decision.behavior.value == expected


@generation_2
async def test_a_client_in_the_toolkit_is_looked_at_and_not_closed() -> None:
    with anyio.fail_after(LIMIT_S), mcp_process("sse") as process:
        server = http(process)
        box = tools_module().toolbox([server])
        async with running(server):
            client = box.toolkit.tool_groups[0].mcps[0]
            await client.connect()
            await client.close()
            assert (await client.get_tool("add")).name == "mcp__srv__add"
            assert "add" in [tool.name for tool in await client.list_raw_tools()]
            with pytest.raises(ValueError, match="has no tool nothing"):
                await client.get_tool("nothing")
            assert server.state == "up"


@pytest.mark.parametrize("is_alive", [True, False], ids=["alive", "dead"])
async def test_an_agent_calls_a_tool_and_reads_its_result(is_alive: bool) -> None:
    arguments = json.dumps({"a": 2, "b": 3})
    with (
        anyio.fail_after(LIMIT_S),
        mcp_process("streamable_http") as process,
        scripted_llm.serve() as llm,
    ):
        server = http(process)
        box = tools_module().toolbox([server])
        async with running(server):
            if not is_alive:
                await anyio.to_thread.run_sync(process.kill)
            answer = await ask_agent(
                llm.base_url, f"call:{named('srv', 'add')}:{arguments}", box.for_run()
            )
    assert "Done." in answer
    [result] = [one["content"] for one in llm.requests[-1]["messages"] if one["role"] == "tool"]
    assert ("5" if is_alive else "the MCP server srv") in str(result)


async def ask_agent(base_url: str, model_name: str, toolkit: Any) -> str:
    """Ask a real agent, whose model is the scripted one; returns its answer as text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if harness.GENERATION == 1:
            from agentscope.agent import ReActAgent
            from agentscope.formatter import OpenAIChatFormatter
            from agentscope.message import Msg
            from agentscope.model import OpenAIChatModel

            model = OpenAIChatModel(
                model_name, api_key="k", stream=False, client_kwargs={"base_url": base_url}
            )
            agent = ReActAgent("bot", "You help.", model, OpenAIChatFormatter(), toolkit=toolkit)
            agent.set_console_output_enabled(False)
            try:
                return str((await agent(Msg("user", "go", "user"))).get_text_content())
            finally:
                await model.client.close()
        from agentscope.agent import Agent
        from agentscope.credential import OpenAICredential
        from agentscope.message import UserMsg
        from agentscope.model import OpenAIChatModel

        credential = OpenAICredential(api_key="k", base_url=base_url)
        model = OpenAIChatModel(credential, model_name, stream=False, max_retries=0)
        agent = Agent("bot", "You help.", model, toolkit=toolkit)
        try:
            return str((await agent.reply(UserMsg("user", "go"))).get_text_content())
        finally:
            with contextlib.suppress(AttributeError):
                await model.client.close()


def test_a_server_says_what_the_config_requires() -> None:
    servers: list[McpServer] = [stdio(required=True), stdio(required=False)]
    assert [server.required for server in servers] == [True, False]


@generation_1
@pytest.mark.parametrize("permission", ["ask", "deny"])
def test_a_restriction_that_1_x_cannot_keep_is_refused(permission: str) -> None:
    with pytest.raises(ValueError, match=f"permission: {permission} needs AgentScope 2"):
        stdio(permission=permission)
