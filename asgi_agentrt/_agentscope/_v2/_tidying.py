"""Leave a stopped agent's context so that its next turn works."""

from __future__ import annotations

from typing import Any


def close_open_calls(agent: Any) -> None:
    """Give each tool call in the context a result: providers refuse a history without."""
