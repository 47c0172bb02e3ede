"""What a provider's class and its SDK are given, and what is told when they refuse it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from asgi_agentrt._agentscope._building import build, fit_to_sdk, require_key

SECRET = "sk-very-secret"


def test_a_library_that_is_missing_is_named() -> None:
    def new_style(**_arguments: Any) -> Any:
        importlib.import_module("not_there")

    def old_style(**_arguments: Any) -> Any:
        try:
            importlib.import_module("not_there")
        except ImportError as error:
            raise ImportError("please install it") from error

    def unnamed(**_arguments: Any) -> Any:
        raise ImportError(SECRET)

    for make in (new_style, old_style):
        with pytest.raises(ValueError, match=r"^this provider needs not_there$"):
            build(make, {})
    with pytest.raises(ValueError, match=r"^this provider needs a library that is not installed$"):
        build(unnamed, {})


@pytest.mark.parametrize("error", [ValueError(SECRET), TypeError(SECRET), RuntimeError(SECRET)])
def test_no_error_tells_a_value(error: Exception) -> None:
    def make(**_arguments: Any) -> Any:
        raise error

    with pytest.raises(ValueError, match="provider") as caught:
        build(make, {"api_key": SECRET})
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_key_is_returned_or_asked_for() -> None:
    assert require_key(SECRET, "openai") == SECRET
    with pytest.raises(ValueError, match=r"^api_key is required for openai, or X in the envir"):
        require_key(None, "openai", variable="X")


def test_parameters_that_an_sdk_does_not_know_go_into_the_body() -> None:
    def create(*, model: str, seed: int = 0, extra_body: object = None) -> None: ...

    given = {"seed": 1, "top_k": 2, "extra_body": {"a": 3}}
    assert fit_to_sdk(create, given) == {"seed": 1, "extra_body": {"top_k": 2, "a": 3}}
    assert fit_to_sdk(create, {"seed": 1}) == {"seed": 1}


def test_an_sdk_that_takes_everything_gets_it() -> None:
    def create(**anything: object) -> None: ...

    assert fit_to_sdk(create, {"top_k": 2}) == {"top_k": 2}
