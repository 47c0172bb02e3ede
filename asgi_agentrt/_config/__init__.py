"""agentapp.yaml: its definitions, reader, JSON Schema and reference."""

from ._definitions import (
    MODEL_PROVIDER_GROUP,
    MODEL_PROVIDERS,
    SESSION_BACKEND_GROUP,
    SESSION_BACKENDS,
    McpServerConfig,
    ModelConfig,
    PlatformConfig,
    RuntimeConfig,
    ServerConfig,
    SessionConfig,
    TracingConfig,
)
from ._load import load_config

__all__ = [
    "MODEL_PROVIDERS",
    "MODEL_PROVIDER_GROUP",
    "SESSION_BACKENDS",
    "SESSION_BACKEND_GROUP",
    "McpServerConfig",
    "ModelConfig",
    "PlatformConfig",
    "RuntimeConfig",
    "ServerConfig",
    "SessionConfig",
    "TracingConfig",
    "load_config",
]
