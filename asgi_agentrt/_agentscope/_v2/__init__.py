"""AgentScope 2.x; importing this imports it."""

from ._adapter import adapter

__all__ = ["adapter"]
