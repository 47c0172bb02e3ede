"""All checks of a session store in one call."""

from __future__ import annotations

from .._session import SessionLines
from ._check_lines import SESSION_LINES_CHECKS
from ._check_shared import SHARED_STORE_CHECKS
from ._check_store import SESSION_STORE_CHECKS
from ._checking import OpenStore


async def check_session_store(open_store: OpenStore, *, is_shared: bool = True) -> None:
    """Check that a session store does what its users rely on; takes some seconds.

    Call it in an event loop of each kind that the store is for. Each check is also a function of
    its own, in `SESSION_STORE_CHECKS`, `SESSION_LINES_CHECKS` (for stores that keep lines) and
    `SHARED_STORE_CHECKS`, so that a test framework can show them one by one::

        @pytest.mark.parametrize("check", SESSION_STORE_CHECKS)
        async def test_my_store(check):
            await check(open_my_store)

    Args:
        open_store: Opens a store, at the same place each time. Only sessions with new ids are
            used, and they are deleted afterwards.
        is_shared: Whether what one store has saved is there for the next one.

    Raises:
        AssertionError: it does not; says which promise was broken.
    """
    async with open_store() as store:
        keeps_lines = isinstance(store, SessionLines)
    checks = [
        *SESSION_STORE_CHECKS,
        *(SESSION_LINES_CHECKS if keeps_lines else ()),
        *(SHARED_STORE_CHECKS if is_shared else ()),
    ]
    for check in checks:
        await check(open_store)
