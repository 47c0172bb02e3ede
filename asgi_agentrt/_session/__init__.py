"""Sessions: where states are kept, whose turn it is, how objects give and take their states."""

from ._hold import SessionHold
from ._key import make_key
from ._line import Standing, Ticket
from ._lines import SessionLines
from ._open import open_store
from ._sessions import Sessions
from ._state import dump_state, load_state
from ._store import ABSENT, Document, SessionKey, SessionStore, Stored, Version
from ._usage import SessionInfo

__all__ = [
    "ABSENT",
    "Document",
    "SessionHold",
    "SessionInfo",
    "SessionKey",
    "SessionLines",
    "SessionStore",
    "Sessions",
    "Standing",
    "Stored",
    "Ticket",
    "Version",
    "dump_state",
    "load_state",
    "make_key",
    "open_store",
]
