"""AgentScope 1.x; importing this imports all of it."""

from ._adapter import adapter

__all__ = ["adapter"]
