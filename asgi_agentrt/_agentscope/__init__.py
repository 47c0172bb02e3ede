"""AgentScope, both generations, behind one interface; imported when `load_adapter()` is called."""

from ._adapter import BUILT_IN_PROVIDERS, Adapter, Converter, Generation
from ._load import installed_generation, load_adapter, quiet_logging, require_asyncio

__all__ = [
    "BUILT_IN_PROVIDERS",
    "Adapter",
    "Converter",
    "Generation",
    "installed_generation",
    "load_adapter",
    "quiet_logging",
    "require_asyncio",
]
