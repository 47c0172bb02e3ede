"""Resources of a configuration that write down when they are opened and closed."""

from __future__ import annotations

from typing import Any

from asgi_agentrt._session._memory import MemoryStore

RECORD: list[str] = []
FAULTS: dict[str, Exception] = {}


class Model:
    """What a plug-in provider makes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_closed = False

    async def aclose(self) -> None:
        RECORD.append(f"close {self.name}")
        self.is_closed = True
        if (fault := FAULTS.get(f"close {self.name}")) is not None:
            raise fault


async def make_model(config: Any) -> Model:
    if (fault := FAULTS.get(config.model)) is not None:
        raise fault
    RECORD.append(f"open {config.model}")
    return Model(config.model)


class Store(MemoryStore):
    """A session backend."""

    def __init__(self, url: str = "") -> None:
        super().__init__(ttl_s=None)
        self.url = url

    async def open(self) -> None:
        if (fault := FAULTS.get("session")) is not None:
            raise fault
        RECORD.append("open session")

    async def aclose(self) -> None:
        RECORD.append("close session")
        await super().aclose()


def model(name: str) -> dict[str, str]:
    """Return a model's section."""
    return {"provider": f"{__name__}:make_model", "model": name}


SESSION = {"backend": f"{__name__}:Store"}
