"""The state of things: taken out as JSON, put back without undoing what the code sets.

AgentScope's classes are known by what they can do, so that none of them has to be imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeGuard

from ..exceptions import SessionError
from ._document import copy_json, is_object
from ._mending import mend

# What the code says about an agent, not what the conversation has come to.
_AGENT_SETTINGS = ("name", "_sys_prompt")
_MODEL_SETTINGS = ("permission_context",)


def dump_state(obj: object) -> dict[str, Any]:
    """Return the state of an object as a dict that is independent of it.

    A conversation in it that was cut off in the middle of a tool call is mended, unless the object
    is a dict: each call has a result, as models demand. Calls of AgentScope 2.x that wait for
    consent or for a result from outside still wait.

    Args:
        obj: A dict, an AgentScope 1.x `StateModule`, a pydantic model, or an AgentScope 2.x agent,
            whose `.state` is one.

    Raises:
        TypeError: it is none of these; names its type.
        SessionError: the state is not JSON.
    """
    if _is_mapping(obj):
        state: Any = obj
    elif _is_state_module(obj):
        state = _attribute(obj, "state_dict")()
    elif (model := _model_of(obj)) is not None:
        state = _dump_model(model)
    else:
        raise TypeError(_no_state(obj))
    if not _is_mapping(state):
        raise TypeError(f"the state of {type(obj).__qualname__} is not a dict")
    try:
        copied: dict[str, Any] = copy_json(dict(state))
    except RecursionError:
        raise SessionError(f"the state of {type(obj).__qualname__} is nested too deeply") from None
    return copied if _is_mapping(obj) else mend(copied)


def load_state(obj: object, state: Mapping[str, Any]) -> None:
    """Put a state back into an object, which keeps its identity.

    A state that is older than the code does no harm: what it lacks stays as it is, and an agent's
    name, system prompt and permissions stay as the code has set them. A dict becomes equal to the
    state. If the state does not fit, the object stays as it was.

    Args:
        obj: As for `dump_state`.
        state: What `dump_state` returned, now or earlier; it is not changed and not kept.

    Raises:
        TypeError: the object has no state; names its type.
        SessionError: the state does not fit; names the places, never the values.
    """
    if not _is_mapping(state):
        raise SessionError(f"the state for {type(obj).__qualname__} is not a dict")
    if _is_mutable_mapping(obj):
        copied = copy_json(dict(state))
        obj.clear()
        obj.update(copied)
    elif _is_state_module(obj):
        _load_state_module(obj, state)
    elif (model := _model_of(obj)) is not None:
        _load_model(model, state)
    else:
        raise TypeError(_no_state(obj))


def _no_state(obj: object) -> str:
    return (
        f"{type(obj).__qualname__} has no state to keep: it is no dict, no AgentScope StateModule, "
        "no pydantic model, and has no such model as its state"
    )


def _attribute(obj: object, name: str) -> Any:
    # A class has the methods, but no state of its own.
    return None if isinstance(obj, type) else getattr(obj, name, None)


def _is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)


def _is_mutable_mapping(value: object) -> TypeGuard[MutableMapping[str, Any]]:
    return isinstance(value, MutableMapping)


def _is_state_module(obj: object) -> bool:
    return callable(_attribute(obj, "state_dict")) and callable(_attribute(obj, "load_state_dict"))


def _model_of(obj: object) -> Any:
    candidates: tuple[Any, ...] = (obj, _attribute(obj, "state"))
    for model in candidates:
        if callable(_attribute(model, "model_dump")) and callable(
            _attribute(model, "model_validate")
        ):
            return model
    return None


# ---- AgentScope 1.x ------------------------------------------------------------------------------


def _load_state_module(module: Any, state: Mapping[str, Any]) -> None:
    before = copy_json(module.state_dict())
    # `strict=False` does not reach the modules inside, so nothing may be missing anywhere.
    complete = _complete(module, before, state)
    try:
        _load_strictly(module, complete)
    except Exception as error:
        # The user's own modules may raise anything, and one that does not even take its own
        # state has nothing better to go back to.
        with suppress(Exception):
            _load_strictly(module, before)
        raise SessionError(
            f"the state does not fit {type(module).__qualname__}: {type(error).__name__}"
        ) from error


def _load_strictly(module: Any, state: dict[str, Any]) -> None:
    if "strict" in inspect.signature(module.load_state_dict).parameters:
        module.load_state_dict(state, strict=False)
    else:
        module.load_state_dict(state)


def _complete(module: Any, before: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state with the module's own values where it has none or must not have any."""
    settings = _AGENT_SETTINGS if _is_agent(module) else ()
    complete: dict[str, Any] = copy_json(dict(state))
    for key, own in before.items():
        if key in settings or key not in complete:
            complete[key] = own
        elif _is_state_module(inner := _attribute(module, key)):
            if not is_object(complete[key]):
                raise SessionError(f"the state of {key} is not a dict")
            complete[key] = _complete(inner, own, complete[key])
    return complete


def _is_agent(module: object) -> bool:
    return callable(_attribute(module, "reply")) or hasattr(module, "_sys_prompt")


# ---- pydantic, and AgentScope 2.x ----------------------------------------------------------------


def _dump_model(model: Any) -> Any:
    try:
        return model.model_dump(mode="json", by_alias=False, round_trip=True)
    except (TypeError, ValueError) as error:
        # pydantic's text holds the value.
        raise SessionError(
            f"the state of {type(model).__qualname__} is not JSON ({type(error).__name__})"
        ) from None


def _load_model(model: Any, state: Mapping[str, Any]) -> None:
    validate: Any = model.model_validate  # a class method
    options: dict[str, bool] = {}
    if "by_name" in inspect.signature(validate).parameters:
        options = {"by_alias": True, "by_name": True}  # states are dumped by name
    wanted = {name: value for name, value in state.items() if name not in _MODEL_SETTINGS}
    try:
        loaded = validate(copy_json(wanted), **options)
    except ValueError as error:
        # Without the cause: pydantic's text holds the values.
        raise SessionError(
            f"the state does not fit {type(model).__qualname__}: {_places(error)}"
        ) from None
    fields: dict[str, Any] = model.__class__.model_fields
    # Past `__setattr__`: all of it is validated, and a frozen model can be loaded, too.
    contents: dict[str, Any] = loaded.__dict__
    target: dict[str, Any] = model.__dict__
    for name in loaded.model_fields_set:
        if name in contents and name not in _MODEL_SETTINGS and not fields[name].exclude:
            target[name] = contents[name]
            model.model_fields_set.add(name)
    for name in target.keys() - fields.keys():
        del target[name]  # a cached property, of what was there before
    if loaded.model_extra and model.model_extra is not None:
        model.model_extra.update(loaded.model_extra)


def _places(error: ValueError) -> str:
    errors = _attribute(error, "errors")
    if not callable(errors):
        return type(error).__name__
    found: Any = errors(include_input=False, include_url=False, include_context=False)
    return ", ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the whole'} ({fault['type']})"
        for fault in found[:5]
    )
