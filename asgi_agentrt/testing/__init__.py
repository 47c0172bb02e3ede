"""For the tests of apps and of plug-ins; needs no test framework."""

from ._check_lines import SESSION_LINES_CHECKS
from ._check_shared import SHARED_STORE_CHECKS
from ._check_store import SESSION_STORE_CHECKS
from ._checking import Check, OpenStore
from ._session_store import check_session_store

__all__ = [
    "SESSION_LINES_CHECKS",
    "SESSION_STORE_CHECKS",
    "SHARED_STORE_CHECKS",
    "Check",
    "OpenStore",
    "check_session_store",
]
