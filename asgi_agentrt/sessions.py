"""What authors of session backends build on; `asgi_agentrt.testing` checks what they make."""

from ._session import (
    ABSENT,
    Document,
    SessionKey,
    SessionLines,
    SessionStore,
    Standing,
    Stored,
    Ticket,
    Version,
)

__all__ = [
    "ABSENT",
    "Document",
    "SessionKey",
    "SessionLines",
    "SessionStore",
    "Standing",
    "Stored",
    "Ticket",
    "Version",
]
