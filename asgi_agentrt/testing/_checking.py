"""What the checks of session stores are made of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, TypeAlias
from uuid import uuid4

import anyio

from .._session import Document, SessionKey, SessionStore, Version
from ..exceptions import SessionConflictError

# Opens a store at the same place each time: what one has saved, the next one finds.
OpenStore: TypeAlias = Callable[[], AbstractAsyncContextManager[SessionStore]]
# Raises AssertionError, which says what does not hold.
Check: TypeAlias = Callable[[OpenStore], Awaitable[None]]

LIMIT_S = 60.0


class Place(NamedTuple):
    """An open store, and a session that nobody else uses."""

    store: SessionStore
    key: SessionKey


@asynccontextmanager
async def open_place(open_store: OpenStore) -> AsyncGenerator[Place]:
    """Hold a store open and a session free; it is deleted afterwards. Bounded in time."""
    key = SessionKey("user", f"check-{uuid4().hex}")
    with anyio.fail_after(LIMIT_S):
        async with open_store() as store:
            yield Place(store, key)
            await store.delete(key)


def expect(holds: object, promise: str) -> None:
    """Raise AssertionError unless a promise holds."""
    if not holds:
        raise AssertionError(f"a session store promises: {promise}")


async def expect_conflict(saving: Awaitable[Version], promise: str) -> None:
    """Raise AssertionError unless a save is refused with SessionConflictError."""
    try:
        await saving
    except SessionConflictError:
        return
    expect(False, promise)  # noqa: FBT003  it did not raise


async def expect_held(place: Place, document: Document, version: Version, promise: str) -> None:
    """Raise AssertionError unless a session has this document and version."""
    expect(await place.store.load(place.key) == (document, version), promise)
