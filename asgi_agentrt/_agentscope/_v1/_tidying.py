"""Leave a stopped agent's memory so that its next turn works."""

from __future__ import annotations

from typing import Any


async def close_open_calls(agent: Any) -> None:
    """Give each tool call in the memory a result: providers refuse a history without."""
