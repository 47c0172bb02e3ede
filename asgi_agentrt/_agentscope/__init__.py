"""AgentScope, both generations, behind one interface; imported when `load_adapter()` is called."""

from ._adapter import Adapter, Converter, Generation, Toolbox
from ._load import installed_generation, load_adapter, quiet_logging, require_asyncio
from ._mcp import McpServer

__all__ = [
    "Adapter",
    "Converter",
    "Generation",
    "McpServer",
    "Toolbox",
    "installed_generation",
    "load_adapter",
    "quiet_logging",
    "require_asyncio",
]
