"""Resources that a new generation takes over from the old one when it wants the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

Close: TypeAlias = Callable[[], Awaitable[object]]
Open: TypeAlias = Callable[[], Awaitable[tuple[Any, Close]]]


class Shelf:
    """Opens each resource once and closes it when its last user has given it back.

    Resources are told apart by what they are opened from: a kind, a name and a configuration.
    Nothing here belongs to a task: what is put on a shelf can be closed from any.
    """

    def __init__(self) -> None:
        self._held: list[_Held] = []

    async def take(self, key: tuple[object, ...], open_it: Open) -> tuple[Any, Close]:
        """Return a resource, opening it if nobody has it, and how to give it back.

        Args:
            key: What it is opened from; compared, so it need not be hashable.
            open_it: Returns the resource and how to close it; what it raises comes through.
        """
        for held in self._held:
            if held.key == key:
                held.users += 1
                return held.resource, partial(self._give_back, held)
        resource, close = await open_it()
        held = _Held(key, resource, close)
        self._held.append(held)
        return resource, partial(self._give_back, held)

    async def _give_back(self, held: _Held) -> None:
        held.users -= 1
        if held.users == 0:
            self._held.remove(held)  # before it is closed: nobody takes what is closing
            await held.close()


class _Held:
    def __init__(self, key: tuple[object, ...], resource: Any, close: Close) -> None:
        self.key = key
        self.resource = resource
        self.close = close
        self.users = 1
