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
from ._reference import reference_markdown
from ._schema import json_schema

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
    "json_schema",
    "load_config",
    "reference_markdown",
]
