"""The JSON Schema of agentapp.yaml, for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ._definitions import (
    McpServerConfig,
    ModelConfig,
    PlatformConfig,
    RuntimeConfig,
    ServerConfig,
    SessionConfig,
    TracingConfig,
)
from ._section import Field, Section, fields_of

_SECTIONS: Final[tuple[type[Section], ...]] = (
    ModelConfig,
    McpServerConfig,
    SessionConfig,
    PlatformConfig,
    TracingConfig,
    ServerConfig,
)


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of what `load_config` takes.

    Editors read YAML 1.2, so `yes` and `on`, which the loader takes for true, are text to them.
    """
    definitions = {section.__name__: _section_schema(section) for section in _SECTIONS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agentapp.yaml",
        **_section_schema(RuntimeConfig),
        "$defs": {
            "from_environment": {
                "description": "${NAME}: filled in from the environment at start",
                "type": "string",
                "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}",
            },
            **definitions,
        },
    }


def _section_schema(section: type[Section]) -> dict[str, Any]:
    fields = fields_of(section)
    required = [key for key, field in fields.items() if field.is_required]
    schema: dict[str, Any] = {
        "description": summary(section),
        # A section of nothing but comments is null.
        "type": "object" if required else ["object", "null"],
        "properties": {key: _property(field) for key, field in fields.items()},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    if section.rules:
        schema["allOf"] = [rule.schema() for rule in section.rules]
    return schema


def _property(field: Field) -> dict[str, Any]:
    schema = field.kind.schema()
    described: dict[str, Any] = {"description": field.kind.doc}
    if field.is_required:
        return {**described, **schema}
    default = plain_default(field)
    if default is not None and not isinstance(default, Section):
        described["default"] = default
    if isinstance(schema.get("type"), str):
        return {**described, **schema, "type": [schema["type"], "null"]}
    options = schema.get("anyOf", [schema])
    return {**described, "anyOf": [*options, {"type": "null"}]}


def summary(section: type[Section]) -> str:
    """Return what a section is for, in one line."""
    return (section.__doc__ or "").partition("\n")[0]


def plain_default(field: Field) -> Any:
    """Return the default with lists and dicts, whole numbers without a decimal point."""
    default = field.default()
    if isinstance(default, Mapping):
        return {}
    if isinstance(default, tuple):
        return []
    return int(default) if isinstance(default, float) and default.is_integer() else default
