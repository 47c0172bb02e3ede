"""`runtime.models`: attribute and index access, and what a wrong name says."""

from __future__ import annotations

import copy

import pytest

from asgi_agentrt._slots import Slots

SLOTS = Slots("model", {"main": 1, "small": 2})


def test_slots_are_reached_by_attribute_and_by_index() -> None:
    assert (SLOTS.main, SLOTS["small"]) == (1, 2)
    assert list(SLOTS) == list(SLOTS.keys()) == ["main", "small"]
    assert len(SLOTS) == 2
    assert "main" in SLOTS
    assert "other" not in SLOTS
    assert {"main", "small"} <= set(dir(SLOTS))
    assert repr(SLOTS) == "<models: main, small>"


def test_a_missing_slot_lists_those_that_are_there() -> None:
    said = "no model 'other' in agentapp.yaml; there: main, small"
    with pytest.raises(AttributeError) as attribute:
        _ = SLOTS.other
    with pytest.raises(KeyError) as key:
        SLOTS["other"]
    assert (str(attribute.value), key.value.args[0]) == (said, said)


def test_without_slots_it_says_so() -> None:
    empty = Slots("model", {})
    assert repr(empty) == "<models: none>"
    with pytest.raises(AttributeError, match="there: none"):
        _ = empty.main


def test_names_that_begin_with_an_underscore_are_never_slots() -> None:
    hidden = Slots("model", {"_secret": 1})
    with pytest.raises(AttributeError):
        _ = hidden._secret
    assert copy.copy(SLOTS).main == 1
