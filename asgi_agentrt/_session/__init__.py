"""Sessions: where states are kept, and how objects give and take theirs."""

from ._key import make_key
from ._open import open_store
from ._sessions import Sessions
from ._state import dump_state, load_state
from ._store import ABSENT, Document, SessionKey, SessionStore, Stored, Version

__all__ = [
    "ABSENT",
    "Document",
    "SessionKey",
    "SessionStore",
    "Sessions",
    "Stored",
    "Version",
    "dump_state",
    "load_state",
    "make_key",
    "open_store",
]
