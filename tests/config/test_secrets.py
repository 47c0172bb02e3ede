"""A secret is never printed: not in an error, not in a repr."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import traceback
from typing import Any

import pytest

from asgi_agentrt._config import (
    McpServerConfig,
    ModelConfig,
    PlatformConfig,
    RuntimeConfig,
    ServerConfig,
    load_config,
)
from asgi_agentrt.exceptions import ConfigError

from .conftest import Load

_SECRET = "hunter2-sentinel"

_GOOD = """
models:
  main:
    provider: openai
    model: gpt-4
    base_url: https://user:hunter2-sentinel@example.com/?key=hunter2-sentinel
    api_key: hunter2-sentinel
    client_kwargs: {headers: {x: hunter2-sentinel}}
mcp_servers:
  http:
    transport: sse
    url: https://example.com/?token=hunter2-sentinel
    headers: {Authorization: Bearer hunter2-sentinel}
  process:
    transport: stdio
    command: run
    args: ["--key", "hunter2-sentinel"]
    env: {KEY: hunter2-sentinel}
session: {backend: redis, url: "redis://:hunter2-sentinel@localhost"}
platform: {endpoint: https://a:hunter2-sentinel@b, instance_id: a, token: hunter2-sentinel}
tracing: {endpoint: "http://localhost/?key=hunter2-sentinel"}
server: {api_key: hunter2-sentinel}
"""

_FROM_ENVIRONMENT = """
models:
  main:
    provider: ${MODULE}
    model: ${S}
    base_url: https://${S}/v1
    generate_kwargs: {user: ["${S}"]}
mcp_servers:
  process: {transport: stdio, command: "/bin/${S}"}
session: {save_dir: "${S}"}
platform: {instance_id: "${S}"}
tracing: {endpoint: "http://${S}/"}
server: {host: "${S}", port: "${PORT}"}
"""
_ENVIRON = {"S": _SECRET, "MODULE": "hunter2_sentinel:factory", "PORT": "31337"}


def test_a_configuration_from_a_file_prints_no_secret(load: Load) -> None:
    config = load(_GOOD)
    for text in (repr(config), str(config), f"{config}", repr(config.models["main"])):
        assert _SECRET not in text
    assert "api_key=<hidden>" in repr(config.models["main"])
    assert "model='gpt-4'" in repr(config)
    assert config.models["main"].api_key == _SECRET


def test_a_configuration_prints_nothing_that_came_from_the_environment(load: Load) -> None:
    config = load(_FROM_ENVIRONMENT, _ENVIRON)
    for text in (repr(config), str(config)):
        assert "hunter2" not in text
        assert "31337" not in text
    assert config.server.port == 31337


def test_copies_print_no_more_than_their_original(load: Load) -> None:
    config = load(_FROM_ENVIRONMENT, _ENVIRON)
    server = dataclasses.replace(config.server, debug=True)
    for made in (copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config))):
        assert made == config
        assert "hunter2" not in repr(made)
    assert "hunter2" not in repr(server)


@pytest.mark.parametrize(
    "fault",
    [
        "models: {m: {provider: openai, model: a, api_key: [hunter2-sentinel]}}",
        "models: {m: {provider: openai, model: a, api_key: {hunter2: hunter2-sentinel}}}",
        'models: {m: {provider: openai, model: a, api_key: "hunter2-sentinel "}}',
        "models: {m: {provider: openai, model: a, api_key: !hunter2-sentinel x}}",
        "models: {m: {provider: openai, model: a, api_key: !hunter2-sentinel!x y}}",
        "models: {m: {provider: openai, model: a, api_key: *hunter2-sentinel }}",
        "models: {m: {provider: openai, model: a, api_key: '${K:-hunter2-sentinel}'}}",
        "models: {m: {provider: openai, model: a, api_key: '${K hunter2-sentinel}'}}",
        "models: {m: {provider: openai, model: a, api_key: '${hunter2-sentinel'}}",
        "models: {m: {provider: openai, model: a, apikey: hunter2-sentinel}}",
        "models: {m: {provider: openai, model: a, client_kwargs: hunter2-sentinel}}",
        "models: {m: {provider: openai, model: a, base_url: 'x://u:hunter2-sentinel@h'}}",
        "models: hunter2-sentinel",
        "models: [hunter2-sentinel]",
        "platform: {token: hunter2-sentinel: x}",
        "platform: {token: 'hunter2-sentinel}",
        "platform:\n  token: hunter2-sentinel\n    more: x",
        "platform: {token: @hunter2-sentinel}",
        "platform: {token: %hunter2-sentinel}",
        'platform: {token: "hunter2-sentinel\\q"}',
        "platform: {token: |hunter2-sentinel}",
        "platform: {token: 'hunter2-sentinel ü'}",
        "platform: {endpoint: 'https://h/?hunter2-sentinel', instance_id: a}",
        "mcp_servers: {a: {transport: sse, url: 'http://h', headers: hunter2-sentinel}}",
        "mcp_servers: {a: {transport: sse, url: 'http://h', headers: {A: 'hunter2-sentinel '}}}",
        "mcp_servers: {a: {transport: sse, url: 'http://h', headers: [hunter2-sentinel]}}",
        "mcp_servers: {a: {transport: stdio, command: x, env: [hunter2-sentinel]}}",
        'mcp_servers: {a: {transport: stdio, command: x, env: {A: "hunter2-sentinel\\0"}}}',
        "mcp_servers: {a: {transport: stdio, command: x, args: hunter2-sentinel}}",
        "mcp_servers: {a: {transport: sse, url: 'hunter2-sentinel@h'}}",
        "session: {backend: redis, url: 'http://:hunter2-sentinel@h'}",
        "server: {api_key: hunter2-sentinel with spaces}",
        "hunter2: &hunter2-sentinel [*hunter2-sentinel]",
    ],
)
def test_no_error_repeats_a_secret(load: Load, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(fault)
    error = caught.value
    texts = (str(error), repr(error), *map(repr, error.problems), _shown(error))
    assert not [text for text in texts if _SECRET in text]


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


_EVERY_FAULT = """
models: {m: {provider: "${S}", model: "${S}\\n", base_url: "${S}", stream: "${S}"}}
mcp_servers: {a: {transport: "${S}"}, b: {transport: stdio, command: "${S}\\n", timeout: "${S}"}}
session: {backend: "${S}", ttl: "${S}", concurrency: "${S}", url: "${S}"}
platform: "${S}"
tracing: {endpoint: "${S}"}
server: {host: "${S} ", port: "${S}", debug: "${S}", signals: "${S}", unknown: "${S}"}
"""


def test_no_error_repeats_what_came_from_the_environment(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(_EVERY_FAULT, {"S": _SECRET})
    assert len(caught.value.problems) > 15
    assert _SECRET not in str(caught.value)
    assert _SECRET not in repr(caught.value)


def test_no_error_of_a_mapping_repeats_a_secret(tmp_path: Any) -> None:
    class Token:
        __repr__ = __str__ = lambda _: _SECRET

    source = {
        "platform": {"token": Token()},
        "server": {"api_key": f"{_SECRET} "},
        "models": {"m": {"provider": "a:b", "client_kwargs": {"x": Token()}, "model": Token()}},
    }
    with pytest.raises(ConfigError) as caught:
        load_config(source, project=tmp_path, environ={})
    assert len(caught.value.problems) == 4
    assert _SECRET not in str(caught.value)


def test_objects_made_in_code_print_no_secret() -> None:
    made = RuntimeConfig(
        models={"m": ModelConfig(provider="openai", model="a", api_key=_SECRET)},
        mcp_servers={
            "s": McpServerConfig(
                transport="sse", url="http://h", headers={"Authorization": _SECRET}
            )
        },
        platform=PlatformConfig(token=_SECRET),
        server=ServerConfig(api_key=_SECRET),
    )
    assert _SECRET not in repr(made)
    with pytest.raises(ConfigError) as caught:
        ModelConfig(provider="openai", model="a", api_key=f"{_SECRET}\n")
    assert _SECRET not in str(caught.value)
