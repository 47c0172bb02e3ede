"""Stand-ins for AgentScope's classes, which the core's tests run without, and a look at folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any


def files_in(folder: Path) -> list[str]:
    """Return the names of the files, hidden ones too, in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.is_file())


class StateModule:
    """Behaves as AgentScope 1.x's: strict about the modules inside, whatever it is told itself."""

    def __init__(self, **attributes: Any) -> None:
        self._names = list(attributes)
        for name, value in attributes.items():
            setattr(self, name, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def state_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self._names}
        return {
            name: value.state_dict() if isinstance(value, StateModule) else value
            for name, value in values.items()
        }

    def load_state_dict(self, state_dict: dict[str, Any], strict: bool = True) -> None:
        for name in self._names:
            if name not in state_dict:
                if strict:
                    raise KeyError(name)
                continue
            value = getattr(self, name)
            if isinstance(value, StateModule):
                value.load_state_dict(state_dict[name])
            else:
                setattr(self, name, state_dict[name])


class Agent(StateModule):
    """An agent of 1.x: its name and prompt are part of its state."""

    async def reply(self) -> None:
        raise NotImplementedError


class DictSession:
    """A session class as AgentScope 1.x has them, without any of its hazards or ours."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.is_closed = False

    async def save_session_state(
        self, session_id: str, user_id: str = "nobody", **modules: Any
    ) -> None:
        states = {name: module.state_dict() for name, module in modules.items()}
        self.held[user_id, session_id] = json.dumps(states)

    async def load_session_state(
        self, session_id: str, user_id: str = "nobody", allow_not_exist: bool = True, **modules: Any
    ) -> None:
        states = json.loads(self.held.get((user_id, session_id), "{}"))
        for name, module in modules.items():
            if name in states:
                module.load_state_dict(states[name])

    async def close(self) -> None:
        self.is_closed = True
