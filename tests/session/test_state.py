"""State out of objects and back, with stand-ins for AgentScope's classes and pydantic's."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from asgi_agentrt._session import dump_state, load_state
from asgi_agentrt.exceptions import SessionError

from .doubles import Agent, StateModule


def test_a_dict_becomes_equal_to_its_state_and_shares_nothing_with_it() -> None:
    original: dict[str, Any] = {"list": [1, {"x": 2}], "gone": False}
    state = dump_state(original)
    original["list"].append(3)
    assert state == {"list": [1, {"x": 2}], "gone": False}
    target: dict[str, Any] = {"stale": True}
    load_state(target, state)
    assert target == state
    target["list"].append(4)
    assert state["list"] == [1, {"x": 2}]


def test_a_module_comes_back_with_the_modules_inside() -> None:
    state = dump_state(StateModule(count=3, memory=StateModule(content=["a"], summary="")))
    fresh = StateModule(count=0, memory=StateModule(content=[], summary="none"))
    load_state(fresh, state)
    assert fresh.state_dict() == {"count": 3, "memory": {"content": ["a"], "summary": ""}}


def test_what_the_code_sets_for_an_agent_stays() -> None:
    def agent(name: str, prompt: str, content: list[str]) -> Agent:
        memory = StateModule(content=content)
        return Agent(name=name, _sys_prompt=prompt, memory=memory)

    new = agent("new", "be kind", [])
    load_state(new, dump_state(agent("old", "be rude", ["hello"])))
    assert new.state_dict() == {
        "name": "new",
        "_sys_prompt": "be kind",
        "memory": {"content": ["hello"]},
    }
    team = StateModule(leader=agent("new", "be kind", []))
    load_state(team, dump_state(StateModule(leader=agent("old", "be rude", ["hello"]))))
    assert team.leader.state_dict() == new.state_dict()


def test_the_name_of_what_is_no_agent_is_state_like_any_other() -> None:
    profile = StateModule(name="")
    load_state(profile, {"name": "Ann"})
    assert profile.name == "Ann"


def test_an_old_state_lacks_what_is_new_in_the_code() -> None:
    """At the top and inside, where AgentScope is strict whatever it is told."""
    fresh = StateModule(count=0, added=7, memory=StateModule(content=[], added="x"))
    load_state(fresh, {"count": 3, "removed": 1, "memory": {"content": ["a"]}})
    assert fresh.state_dict() == {
        "count": 3,
        "added": 7,
        "memory": {"content": ["a"], "added": "x"},
    }


class Picky(StateModule):
    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> None:
        super().load_state_dict(state_dict, strict)
        if self.number < 0:
            raise ValueError("the secret number is negative")


def test_a_state_that_does_not_fit_leaves_the_module_as_it_was() -> None:
    team = StateModule(first=["kept"], picky=Picky(number=1))
    with pytest.raises(SessionError, match="does not fit StateModule: ValueError") as got:
        load_state(team, {"first": ["lost"], "picky": {"number": -1}})
    assert "secret" not in str(got.value)
    assert team.state_dict() == {"first": ["kept"], "picky": {"number": 1}}
    with pytest.raises(SessionError, match="the state of picky is not a dict"):
        load_state(team, {"picky": None})
    assert team.state_dict() == {"first": ["kept"], "picky": {"number": 1}}


def test_a_module_need_not_know_about_strictness() -> None:
    class Simple:
        value: Any = None

        def state_dict(self) -> dict[str, Any]:
            return {"value": self.value}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.value = state["value"]

    simple = Simple()
    load_state(simple, {"value": [1]})
    assert dump_state(simple) == {"value": [1]}


@pytest.mark.parametrize("obj", [object(), None, "text", [1], 3, StateModule])
def test_what_has_no_state_is_a_type_error_that_names_it(obj: object) -> None:
    with pytest.raises(TypeError, match=f"^{type(obj).__qualname__} has no state to keep"):
        dump_state(obj)
    with pytest.raises(TypeError, match=f"^{type(obj).__qualname__} has no state to keep"):
        load_state(obj, {})


def test_a_mapping_that_cannot_be_changed_can_only_be_dumped() -> None:
    fixed = MappingProxyType({"a": 1})
    assert dump_state(fixed) == {"a": 1}
    with pytest.raises(TypeError):
        load_state(fixed, {})


@pytest.mark.parametrize("state", [None, [], "text"])
def test_a_state_that_is_no_dict_does_not_fit(state: Any) -> None:
    target = {"kept": True}
    with pytest.raises(SessionError, match="the state for dict is not a dict"):
        load_state(target, state)
    assert target == {"kept": True}
