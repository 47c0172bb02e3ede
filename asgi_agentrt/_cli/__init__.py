"""The command line: `agentrt`, and `python -m asgi_agentrt`."""

from ._main import main

__all__ = ["main"]
