"""What a caller asks for, checked, whatever wire format it came in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .._message import WireMessage


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of the app.

    Attributes:
        session_id: 1 to 256 characters without control characters.
        message: The user's message in wire form: role `user`, text or media.
        user_id: Whose session it is; "" when nobody said.
        metadata: The caller's own, handed to the app as it came.
        confirm: Answers to tool calls that wait for the user's consent; None without any.
    """

    session_id: str
    message: WireMessage
    user_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    confirm: list[Any] | None = None
