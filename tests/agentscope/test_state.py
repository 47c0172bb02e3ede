"""State of AgentScope's real classes and of pydantic models: out, through JSON, and back."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import pytest

from asgi_agentrt._agentscope import installed_generation
from asgi_agentrt._session import dump_state, load_state
from asgi_agentrt.exceptions import SessionError

only_1 = pytest.mark.skipif(installed_generation() != 1, reason="needs AgentScope 1.x")
only_2 = pytest.mark.skipif(installed_generation() != 2, reason="needs AgentScope 2.x")
pytestmark = pytest.mark.skipif(installed_generation() is None, reason="needs AgentScope")


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return loaded


# ---- 1.x -----------------------------------------------------------------------------------------


def agent_1(name: str, prompt: str, *, with_plan: bool = False) -> Any:
    from agentscope.agent import ReActAgent
    from agentscope.formatter import OpenAIChatFormatter
    from agentscope.memory import InMemoryMemory
    from agentscope.model import OpenAIChatModel
    from agentscope.plan import PlanNotebook

    return ReActAgent(
        name=name,
        sys_prompt=prompt,
        model=OpenAIChatModel("m", api_key="k"),
        formatter=OpenAIChatFormatter(),
        memory=InMemoryMemory(),
        plan_notebook=PlanNotebook() if with_plan else None,
    )


async def remember_1(agent: Any, *texts: str) -> None:
    from agentscope.message import Msg

    await agent.memory.add([Msg("user", text, "user") for text in texts])


async def remembered_1(agent: Any) -> list[str]:
    return [message.content for message in await agent.memory.get_memory()]


@only_1
async def test_an_agent_remembers_and_keeps_what_the_code_sets() -> None:
    old = agent_1("old", "be rude")
    await remember_1(old, "hello", "wörld \ud83d")
    new = agent_1("new", "be kind")
    load_state(new, through_json(dump_state(old)))
    assert await remembered_1(new) == ["hello", "wörld \ud83d"]
    assert (new.name, new.sys_prompt) == ("new", "be kind")
    assert dump_state(new)["memory"] == dump_state(old)["memory"]


@only_1
async def test_an_agent_that_gained_a_part_takes_an_old_state() -> None:
    old = agent_1("a", "p")
    await remember_1(old, "hello")
    new = agent_1("a", "p", with_plan=True)
    state = through_json(dump_state(old))
    assert "plan_notebook" not in state
    load_state(new, state)
    assert await remembered_1(new) == ["hello"]
    assert new.plan_notebook.current_plan is None
    del state["memory"]
    load_state(new, state)
    assert await remembered_1(new) == ["hello"]


@only_1
@pytest.mark.parametrize("content", [["text"], [[{"name": "x"}, []]], [3], None])
async def test_a_state_that_does_not_fit_leaves_the_agent_as_it_was(content: Any) -> None:
    agent = agent_1("a", "p", with_plan=True)
    await remember_1(agent, "hello")
    before = through_json(dump_state(agent))
    state = {**before, "memory": {"content": content, "_compressed_summary": "lost"}}
    with pytest.raises(SessionError, match="does not fit ReActAgent"):
        load_state(agent, state)
    assert through_json(dump_state(agent)) == before
    assert await remembered_1(agent) == ["hello"]


@only_1
async def test_memory_alone_is_state_too() -> None:
    from agentscope.memory import InMemoryMemory

    agent = agent_1("a", "p")
    await remember_1(agent, "hello")
    memory = InMemoryMemory()
    load_state(memory, through_json(dump_state(agent.memory)))
    assert [message.content for message in await memory.get_memory()] == ["hello"]


# ---- 2.x -----------------------------------------------------------------------------------------


def agent_2(mode: str, *texts: str) -> Any:
    from agentscope.agent import Agent
    from agentscope.credential import OpenAICredential
    from agentscope.message import UserMsg
    from agentscope.model import OpenAIChatModel
    from agentscope.permission import PermissionContext
    from agentscope.state import AgentState

    state = AgentState(
        context=[UserMsg("user", text) for text in texts],
        permission_context=PermissionContext(mode=mode),
    )
    model = OpenAIChatModel(OpenAICredential(api_key="k"), "m")
    return Agent("agent", "be kind", model, state=state)


def texts_2(agent: Any) -> list[str]:
    return [message.get_text_content() for message in agent.state.context]


@only_2
def test_an_agent_of_2_remembers_and_keeps_its_permissions() -> None:
    old, new = agent_2("bypass", "hello", "wörld"), agent_2("default")
    held, permissions = new.state, new.state.permission_context
    load_state(new, through_json(dump_state(old)))
    assert texts_2(new) == ["hello", "wörld"]
    assert new.state.session_id == old.state.session_id
    assert new.state is held
    # The very object that the agent's permission engine looks at.
    assert new.state.permission_context is permissions
    assert permissions.mode.value == "default"
    assert new._engine.context is permissions


@only_2
def test_a_state_of_2_alone_keeps_its_permissions_too() -> None:
    old, new = agent_2("bypass", "hello").state, agent_2("default").state
    load_state(new, through_json(dump_state(old)))
    assert new.permission_context.mode.value == "default"
    assert new.model_dump(exclude={"permission_context"}) == old.model_dump(
        exclude={"permission_context"}
    )


@only_2
def test_a_state_of_an_earlier_2_is_understood() -> None:
    new = agent_2("default").state
    load_state(new, {"reply_id": "r1", "cur_iter": 3, "unknown": 1})
    assert (new.reply_id, new.cur_iter) == ("r1", 3)


@only_2
def test_a_state_that_does_not_fit_leaves_the_agent_of_2_as_it_was() -> None:
    agent = agent_2("default", "kept")
    before = agent.state.model_dump()
    state = {**through_json(dump_state(agent)), "context": [{"role": "secret"}], "summary": "lost"}
    with pytest.raises(SessionError, match=r"does not fit AgentState: context\.0\.") as got:
        load_state(agent, state)
    assert "secret" not in str(got.value)
    assert got.value.__cause__ is None
    assert agent.state.model_dump() == before


# ---- pydantic models of an app -------------------------------------------------------------------


def order_class() -> Any:
    import pydantic

    class Item(pydantic.BaseModel):
        name: str = pydantic.Field(alias="itemName")

    class Order(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

        items: list[Item] = []
        note: str = pydantic.Field(default="", alias="orderNote")
        client: str = pydantic.Field(default="", exclude=True)
        added_later: int = 0
        _connection: Any = pydantic.PrivateAttr(default=None)

        @pydantic.computed_field
        @property
        def count(self) -> int:
            return len(self.items)

        @cached_property
        def names(self) -> list[str]:
            return [item.name for item in self.items]

        @pydantic.model_validator(mode="after")
        def check(self) -> Any:
            if len(self.items) > 2:
                raise ValueError("the secret limit")
            return self

    return Order


def test_a_model_is_loaded_in_place_and_whole() -> None:
    order = order_class()
    old = order(items=[{"itemName": "tea"}], orderNote="hot", client="old")
    new = order(items=[], client="new", added_later=7)
    new._connection = "open"
    assert new.names == []
    state = through_json(dump_state(old))
    del state["added_later"]
    load_state(new, state)
    assert (new.note, new.names, new.count) == ("hot", ["tea"], 1)
    assert (new.client, new.added_later, new._connection) == ("new", 7, "open")
    load_state(new, {"items": [{"itemName": "by alias"}], "orderNote": "cold"})
    assert (new.note, new.names) == ("cold", ["by alias"])


def test_a_model_whose_state_does_not_fit_stays_as_it_was() -> None:
    order = order_class()
    new = order(items=[{"itemName": "tea"}])
    for state in (
        {"items": [{"name": str(n)} for n in range(3)]},
        {"items": [{"name": 3}]},
        {"unknown": 3},
    ):
        with pytest.raises(SessionError, match=r"does not fit .*Order: ") as got:
            load_state(new, state)
        assert "secret" not in str(got.value)
        assert new.names == ["tea"]


def test_a_model_that_keeps_what_it_does_not_know_gets_it_back() -> None:
    import pydantic

    class Open(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        known: int = 0

    new = Open()
    load_state(new, through_json(dump_state(Open(known=1, more=[2]))))
    assert new.model_dump() == {"known": 1, "more": [2]}


def test_a_model_that_is_not_json_is_named_without_its_values() -> None:
    import pydantic

    class Holder(pydantic.BaseModel):
        value: Any

    with pytest.raises(SessionError, match=r"the state of .*Holder is not JSON") as got:
        dump_state(Holder(value=object()))
    assert "object at" not in str(got.value)
