"""The JSON Schema says of a file what the loader says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from asgi_agentrt._config import json_schema, load_config
from asgi_agentrt._config._definitions import RuntimeConfig
from asgi_agentrt._config._section import fields_of
from asgi_agentrt.exceptions import ConfigError

_VALIDATOR = jsonschema.Draft202012Validator(json_schema())
_ENVIRON = {"A": "x", "PORT": "1", "DEBUG": "true", "CHOICE": "auto", "URL": "http://h"}

_MODEL = {"provider": "openai", "model": "gpt-4"}
_SSE = {"transport": "sse", "url": "http://h"}
_STDIO = {"transport": "stdio", "command": "x"}

_ACCEPTED: list[Any] = [
    {},
    {"models": None, "server": None, "session": {}},
    {"models": {"main": _MODEL}},
    {"models": {"主": {**_MODEL, "stream": None, "api_key": None, "generate_kwargs": {"a": [1]}}}},
    {"models": {"m2_x": {"provider": "package.module:factory"}}},
    {"models": {"main": {**_MODEL, "base_url": "${URL}", "stream": "${DEBUG}"}}},
    {"mcp_servers": {"a-b": _SSE, "C_1": _STDIO}},
    {"mcp_servers": {"a": {**_SSE, "headers": {"Authorization": "Bearer ${A}"}, "timeout": 0.5}}},
    {"mcp_servers": {"a": {**_STDIO, "args": ["-x", "${A}"], "env": {"A": ""}, "url": None}}},
    {"session": {"backend": "redis", "url": "redis://localhost", "lease": 1}},
    {"session": {"backend": "memory", "url": "http://h", "ttl": 5, "concurrency": "parallel"}},
    {"session": {"backend": "package.module:Class", "url": "postgres://h"}},
    {"platform": {"endpoint": "http://h", "instance_id": "a", "token": "t"}},
    {"platform": {"endpoint": "", "instance_id": "", "token": ""}},
    {"platform": {"heartbeat_interval": 1}},
    {"tracing": {"endpoint": "http://localhost:4318/v1/traces"}},
    {"server": {"port": 0, "max_concurrency": 1, "max_queue": 5, "drain_timeout": 0}},
    {"server": {"port": "${PORT}", "debug": "${DEBUG}", "signals": "${CHOICE}"}},
    {"server": {"max_queue": 0, "max_concurrency": None, "api_key": "k"}},
]
_REJECTED: list[Any] = [
    [],
    "text",
    {"modle": {}},
    {"models": []},
    {"models": {"main": None}},
    {"models": {"main": {}}},
    {"models": {"main": {"provider": "openai"}}},
    {"models": {"main": {**_MODEL, "model": 4}}},
    {"models": {"main": {**_MODEL, "modle": "a"}}},
    {"models": {"main": {**_MODEL, "stream": "true"}}},
    {"models": {"main": {**_MODEL, "base_url": "localhost"}}},
    {"models": {"main": {**_MODEL, "api_key": ""}}},
    {"models": {"main": {**_MODEL, "api_key": "a b"}}},
    {"models": {"main": {**_MODEL, "generate_kwargs": []}}},
    {"models": {"_main": _MODEL}},
    {"models": {"my-model": _MODEL}},
    {"models": {"keys": _MODEL}},
    {"models": {"4o": _MODEL}},
    {"mcp_servers": {"a b": _SSE}},
    {"mcp_servers": {"a": {"transport": "http", "url": "http://h"}}},
    {"mcp_servers": {"a": {"transport": "sse"}}},
    {"mcp_servers": {"a": {**_SSE, "command": "x"}}},
    {"mcp_servers": {"a": {**_SSE, "args": ["x"]}}},
    {"mcp_servers": {"a": {**_STDIO, "url": "http://h"}}},
    {"mcp_servers": {"a": {"transport": "stdio"}}},
    {"mcp_servers": {"a": {**_STDIO, "args": "x"}}},
    {"mcp_servers": {"a": {**_STDIO, "args": [1]}}},
    {"mcp_servers": {"a": {**_STDIO, "env": {"A": 1}}}},
    {"mcp_servers": {"a": {**_SSE, "headers": {"A B": "x"}}}},
    {"mcp_servers": {"a": {**_SSE, "headers": {"A": "x\ny"}}}},
    {"mcp_servers": {"a": {**_SSE, "timeout": 0}}},
    {"session": {"backend": "redis"}},
    {"session": {"backend": "redis", "url": "http://h"}},
    {"session": {"ttl": 0}},
    {"session": {"lease": 0.5}},
    {"session": {"concurrency": "wait"}},
    {"session": {"save_dir": ""}},
    {"platform": {"endpoint": "http://h"}},
    {"platform": {"endpoint": "http://h", "instance_id": 3}},
    {"platform": {"token": "a\nb"}},
    {"tracing": {"endpoint": "h"}},
    {"server": {"port": 65536}},
    {"server": {"port": "8080"}},
    {"server": {"port": 1.5}},
    {"server": {"port": True}},
    {"server": {"host": "http://h"}},
    {"server": {"max_queue": 1}},
    {"server": {"max_concurrency": 0}},
    {"server": {"max_body_bytes": 0}},
    {"server": {"ping_interval": -1}},
    {"server": {"debug": "yes"}},
    {"server": {"signals": False}},
]


def test_it_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("index", range(len(_ACCEPTED)))
def test_the_schema_accepts_what_the_loader_accepts(index: int) -> None:
    load_config(_ACCEPTED[index], project=Path(), environ=_ENVIRON)
    _VALIDATOR.validate(_ACCEPTED[index])


@pytest.mark.parametrize("index", range(len(_REJECTED)))
def test_the_schema_rejects_what_the_loader_rejects(index: int, tmp_path: Path) -> None:
    source = _REJECTED[index]
    if isinstance(source, dict):
        with pytest.raises(ConfigError):
            load_config(source, project=tmp_path, environ=_ENVIRON)
    with pytest.raises(jsonschema.ValidationError):
        _VALIDATOR.validate(source)


def test_every_key_has_a_description_and_its_default() -> None:
    schema = json_schema()
    server = schema["$defs"]["ServerConfig"]["properties"]
    assert server["port"]["default"] == 8080
    assert server["ping_interval"]["default"] == 15
    for section in (schema, *(schema["$defs"][name] for name in schema["$defs"])):
        for described in section.get("properties", {}).values():
            assert described["description"]
    assert [*schema["properties"]] == [*fields_of(RuntimeConfig)]


def test_each_call_gives_a_schema_of_its_own() -> None:
    json_schema().clear()
    assert json_schema()["title"] == "agentapp.yaml"
