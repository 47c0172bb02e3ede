"""What a good file, a mapping or an object made in code comes to."""

from __future__ import annotations

import copy
import dataclasses
import enum
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._config import (
    MODEL_PROVIDERS,
    McpServerConfig,
    ModelConfig,
    PlatformConfig,
    RuntimeConfig,
    ServerConfig,
    SessionConfig,
    TracingConfig,
    load_config,
)
from asgi_agentrt._config import _addresses as addresses
from asgi_agentrt.exceptions import ConfigError

from .conftest import Load

_WHOLE = """
models:
  main:
    provider: openai
    model: gpt-4
    base_url: https://example.com/v1
    api_key: sk-1
    stream: false
    generate_kwargs: {temperature: 0.7, stop: [a, b], top: {k: 3}, none: ~, on: true}
    client_kwargs: {max_retries: 0}
mcp_servers:
  search:
    transport: sse
    url: https://example.com/sse
    headers: {Authorization: Bearer abc}
    timeout: 5
    sse_read_timeout: 50.5
    call_timeout: 1e1
    required: false
    permission: ask
  files:
    transport: stdio
    command: npx
    args: [-y, server]
    env: {HOME: /tmp}
session:
  backend: redis
  save_dir: ./s
  url: redis://localhost:6379/0
  ttl: 60
  concurrency: reject
platform:
  endpoint: https://platform.example.com/api
  instance_id: i-1
  token: t
  heartbeat_interval: 3
tracing: {endpoint: "http://localhost:4318/v1/traces"}
server:
  host: 0.0.0.0
  port: 0
  max_concurrency: 5
  max_queue: 2
  max_body_bytes: 1
  ping_interval: 1
  startup_timeout: 2
  drain_timeout: 0
  send_timeout: 3
  api_key: k
  startup_failure: degrade
  signals: off
  on_disconnect: continue
  debug: yes
"""
_AS_OBJECTS = RuntimeConfig(
    models={
        "main": ModelConfig(
            provider="openai",
            model="gpt-4",
            base_url="https://example.com/v1",
            api_key="sk-1",
            stream=False,
            generate_kwargs={
                "temperature": 0.7,
                "stop": ["a", "b"],
                "top": {"k": 3},
                "none": None,
                "on": True,
            },
            client_kwargs={"max_retries": 0},
        )
    },
    mcp_servers={
        "search": McpServerConfig(
            transport="sse",
            url="https://example.com/sse",
            headers={"Authorization": "Bearer abc"},
            timeout=5,
            sse_read_timeout=50.5,
            call_timeout=10,
            required=False,
            permission="ask",
        ),
        "files": McpServerConfig(
            transport="stdio", command="npx", args=("-y", "server"), env={"HOME": "/tmp"}
        ),
    },
    session=SessionConfig(
        backend="redis",
        save_dir="./s",
        url="redis://localhost:6379/0",
        ttl=60,
        concurrency="reject",
    ),
    platform=PlatformConfig(
        endpoint="https://platform.example.com/api",
        instance_id="i-1",
        token="t",
        heartbeat_interval=3,
    ),
    tracing=TracingConfig(endpoint="http://localhost:4318/v1/traces"),
    server=ServerConfig(
        host="0.0.0.0",
        port=0,
        max_concurrency=5,
        max_queue=2,
        max_body_bytes=1,
        ping_interval=1,
        startup_timeout=2,
        drain_timeout=0,
        send_timeout=3,
        api_key="k",
        startup_failure="degrade",
        signals="off",
        on_disconnect="continue",
        debug=True,
    ),
)


def test_a_file_with_every_key_equals_the_same_made_in_code(load: Load) -> None:
    assert load(_WHOLE) == _AS_OBJECTS


def test_a_mapping_equals_the_same_made_in_code(tmp_path: Path) -> None:
    made = load_config(_as_mapping(_AS_OBJECTS), project=tmp_path, environ={})
    assert made == _AS_OBJECTS


def _as_mapping(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value)]
        return {f: _as_mapping(getattr(value, f)) for f in fields if not f.startswith("_")}
    if isinstance(value, Mapping):
        return {key: _as_mapping(part) for key, part in value.items()}
    return value


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n# nothing\n",
        "---\n",
        "---\n...\n",
        "null",
        "{}",
        "\ufeff",
        "\ufeffmodels:\n",
        "models:\nmcp_servers:\nsession:\nplatform:\ntracing:\nserver:\n",
        "models: {}\r\nserver: {}\r\n",
        "server: {port: null, debug: }",
        "session: {ttl: ~, url: null, backend: , save_dir: Null}",
        "%YAML 1.2\n---\nserver: {}\n",
    ],
)
def test_nothing_given_is_a_configuration_of_defaults(load: Load, content: str) -> None:
    assert load(content) == RuntimeConfig()


def test_the_defaults_are_those_of_the_reference(load: Load) -> None:
    config = load("models: {main: {provider: openai, model: gpt-4}}")
    main = ModelConfig(provider="openai", model="gpt-4")
    assert config == RuntimeConfig(models={"main": main})
    assert (main.base_url, main.api_key, main.stream) == (None, None, True)
    assert (main.generate_kwargs, main.client_kwargs) == ({}, {})
    server = McpServerConfig(transport="sse", url="http://a")
    assert (server.timeout, server.sse_read_timeout, server.call_timeout) == (30, 300, 60)
    assert (server.args, server.required, server.permission) == ((), True, "allow")
    session = config.session
    assert (session.backend, session.save_dir, session.url) == ("json", "./sessions", None)
    assert (session.ttl, session.concurrency) == (None, "queue")
    assert (config.platform.endpoint, config.platform.heartbeat_interval) == (None, 30)
    assert config.tracing.endpoint is None
    served = config.server
    assert (served.host, served.port) == ("127.0.0.1", 8080)
    assert (served.max_concurrency, served.max_queue, served.max_body_bytes) == (None, 0, 4194304)
    assert (served.ping_interval, served.startup_timeout) == (15, 60)
    assert (served.drain_timeout, served.send_timeout) == (30, 30)
    assert (served.startup_failure, served.signals) == ("auto", "auto")
    assert (served.on_disconnect, served.debug, served.api_key) == ("cancel", False, None)


def test_words_that_yaml_versions_disagree_about_mean_what_the_key_wants(load: Load) -> None:
    config = load(
        "models: {on: {provider: openai, model: no, stream: off}}\n"
        "platform: {endpoint: 'http://a', instance_id: 12:30}\n"
        "session: {save_dir: 2026-01-15}\n"
        "server: {signals: off, debug: on, ping_interval: 1e1}\n"
    )
    assert config.models["on"].model == "no"
    assert config.models["on"].stream is False
    assert config.platform.instance_id == "12:30"
    assert config.session.save_dir == "2026-01-15"
    assert (config.server.signals, config.server.debug) == ("off", True)
    assert config.server.ping_interval == 10.0


def test_free_values_are_read_as_json_knows_them(load: Load) -> None:
    config = load(
        "models:\n  m:\n    provider: a:b\n    generate_kwargs:\n"
        "      a: 1\n      b: 1e-5\n      c: -.5\n      d: True\n      e: ~\n      f: '1'\n"
        "      g: 2024-01-01\n      h: [x, {y: 3.}]\n      i: !!str 5\n      j: |\n        k\n"
        "      l: gpt-4o\n"
    )
    assert config.models["m"].generate_kwargs == {
        "a": 1,
        "b": 1e-5,
        "c": -0.5,
        "d": True,
        "e": None,
        "f": "1",
        "g": "2024-01-01",
        "h": ["x", {"y": 3.0}],
        "i": "5",
        "j": "k\n",
        "l": "gpt-4o",
    }


def test_anchors_aliases_and_merges_work(load: Load) -> None:
    config = load(
        """
models:
  main: &main
    provider: openai
    model: &name gpt-4
    generate_kwargs: &kwargs {temperature: 0.5, top_p: 1}
  fast:
    <<: *main
    model: gpt-4-mini
    generate_kwargs: {<<: *kwargs, top_p: 0.9}
  same: *main
  both:
    <<: [{model: *name}, *main, {provider: nobody}]
    "stream": false
  last: {model: own, <<: *main}
"""
    )
    main = config.models["main"]
    assert config.models["fast"] == ModelConfig(
        provider="openai",
        model="gpt-4-mini",
        generate_kwargs={"temperature": 0.5, "top_p": 0.9},
    )
    assert config.models["same"] == main
    assert config.models["both"] == dataclasses.replace(main, stream=False)
    assert config.models["last"].model == "own"


def test_an_anchor_may_be_given_again(load: Load) -> None:
    config = load(
        "models:\n  a: {provider: a:b, model: &m x}\n  b: {provider: a:b, model: &m y}\n"
        "  c: {provider: a:b, model: *m }\n"
    )
    assert config.models["c"].model == "y"


def test_a_key_may_be_an_anchor(load: Load) -> None:
    config = load("models: {&k main: {provider: a:b, model: *k }}")
    assert config.models["main"].model == "main"


def test_a_quoted_merge_key_is_a_key_like_others(load: Load) -> None:
    config = load("models: {m: {provider: a:b, generate_kwargs: {'<<': {a: 1}}}}")
    assert config.models["m"].generate_kwargs == {"<<": {"a": 1}}


@pytest.mark.parametrize("provider", MODEL_PROVIDERS)
def test_every_built_in_provider_is_known(load: Load, provider: str) -> None:
    config = load(f"models: {{main: {{provider: {provider}, model: a}}}}")
    assert config.models["main"].provider == provider


def test_entry_points_are_names_of_providers_and_backends(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installing a distribution for this would take seconds; only its names are ours to read."""
    offered = {
        "asgi_agentrt.model_providers": ["house_model"],
        "asgi_agentrt.session_backends": ["house_store"],
    }
    monkeypatch.setattr(addresses, "entry_point_names", offered.__getitem__)
    config = load(
        "models: {m: {provider: house_model}}\nsession: {backend: house_store, url: 'pg://h'}"
    )
    assert config.models["m"] == ModelConfig(provider="house_model")
    assert config.models["m"].model == ""
    assert config.session.url == "pg://h"
    with pytest.raises(ConfigError, match=r"got 'housemodel': did you mean house_model\?"):
        load("models: {m: {provider: housemodel}}")


def test_references_are_not_imported(load: Load) -> None:
    config = load(
        "models: {m: {provider: 'no.such_module:Factory.make'}}\n"
        "session: {backend: 'no.where:Class'}"
    )
    assert config.models["m"].provider == "no.such_module:Factory.make"
    assert config.session.backend == "no.where:Class"


@pytest.mark.parametrize(
    "url", ["redis://localhost", "rediss://:pw@h:1/0?x=y", "unix:///run/redis.sock?db=1"]
)
def test_redis_takes_its_three_kinds_of_urls(load: Load, url: str) -> None:
    assert load(f"session: {{backend: redis, url: '{url}'}}").session.url == url


def test_settings_of_another_backend_may_stay(load: Load) -> None:
    config = load("session: {backend: memory, url: 'redis://localhost', save_dir: x, ttl: 5}")
    assert config.session.backend == "memory"


def test_timeouts_of_http_may_stay_with_stdio(load: Load) -> None:
    load("mcp_servers: {a: {transport: stdio, command: x, timeout: 5, headers: {}, url: }}")


@pytest.mark.parametrize("host", ["::1", "0.0.0.0", "localhost", "fe80::1%eth0", "münchen.de"])
def test_hosts_are_names_and_addresses(load: Load, host: str) -> None:
    assert load(f"server: {{host: '{host}'}}").server.host == host


def test_file_names_may_be_absolute_and_paths(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "other.yaml"
    file.write_text("server: {port: 1}")
    for source in (file, str(file), Path("conf/other.yaml"), "conf/../conf/other.yaml"):
        assert load_config(source, project=tmp_path, environ={}).server.port == 1
    file.write_text("server: {port: x}")
    with pytest.raises(ConfigError, match=r"^conf/other\.yaml:1: server\.port: "):
        load_config(Path("conf/other.yaml"), project=tmp_path, environ={})


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts its ConfigMaps as links."""
    (tmp_path / "real").write_text("server: {port: 1}")
    (tmp_path / "agentapp.yaml").symlink_to("real")
    assert load_config("agentapp.yaml", project=tmp_path, environ={}).server.port == 1


def test_an_object_is_returned_as_it_is(tmp_path: Path) -> None:
    made = RuntimeConfig()
    assert load_config(made, project=tmp_path, environ={}) is made


def test_something_else_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        load_config(3, project=tmp_path, environ={})  # type: ignore[arg-type]  # on purpose


def test_a_mapping_may_hold_objects_paths_and_enums(tmp_path: Path) -> None:
    class Backend(str, enum.Enum):  # noqa: UP042 - whose str() is not its value
        MEMORY = "memory"

    class Port(enum.IntEnum):
        HTTP = 80

    main = ModelConfig(provider="openai", model="a")
    source = {
        "models": {"main": main, "other": {"provider": "openai", "model": "b"}},
        "session": {"save_dir": tmp_path / "s", "backend": Backend.MEMORY},
        "server": {"port": Port.HTTP, "ping_interval": 1},
    }
    config = load_config(source, project=tmp_path, environ={})
    assert config.models["main"] is main
    assert config.session == SessionConfig(save_dir=str(tmp_path / "s"), backend="memory")
    assert [type(config.session.backend), type(config.server.port)] == [str, int]
    assert (config.server.port, type(config.server.ping_interval)) == (80, float)


def test_what_is_loaded_shares_nothing_with_its_source(tmp_path: Path) -> None:
    stop = ["a"]
    main = {"provider": "a:b", "generate_kwargs": {"stop": stop}}
    config = load_config({"models": {"main": main}}, project=tmp_path, environ={})
    stop.append("b")
    main.clear()
    assert config.models["main"].generate_kwargs == {"stop": ["a"]}


def test_a_configuration_cannot_be_changed() -> None:
    config = _AS_OBJECTS
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.server.port = 1  # type: ignore[misc]  # on purpose
    with pytest.raises(TypeError):
        config.models["x"] = config.models["main"]  # type: ignore[index]  # on purpose
    with pytest.raises(TypeError):
        config.mcp_servers["search"].headers["x"] = "y"  # type: ignore[index]  # on purpose
    with pytest.raises(TypeError):
        RuntimeConfig({})  # type: ignore[call-arg, arg-type]  # keywords only


def test_a_reload_sees_which_slots_changed(load: Load) -> None:
    old, same = load(_WHOLE), load(_WHOLE.replace("port: 0", "port: 1"))
    changed = load(_WHOLE.replace("temperature: 0.7", "temperature: 0.8"))
    assert old.models["main"] == same.models["main"]
    assert old.models == same.models
    assert old != same
    assert old.models["main"] != changed.models["main"]
    assert old.mcp_servers == changed.mcp_servers


def test_where_a_value_came_from_makes_no_difference(load: Load) -> None:
    assert load("server: {port: '${P}'}", {"P": "1"}) == load("server: {port: 1}")


def test_copies_equal_their_original() -> None:
    assert copy.deepcopy(_AS_OBJECTS) == _AS_OBJECTS
    assert dataclasses.replace(_AS_OBJECTS, server=ServerConfig()).models == _AS_OBJECTS.models


def test_objects_made_in_code_are_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        ServerConfig(port=99999, ping_interval=0, signals="of")  # type: ignore[arg-type]  # on purpose
    assert str(caught.value) == (
        "ServerConfig: port: must be at most 65535, got 99999\n"
        "ServerConfig: ping_interval: must be above 0 seconds, got 0\n"
        "ServerConfig: signals: must be one of auto, off, got 'of': did you mean off?"
    )
    with pytest.raises(ConfigError, match=r"^McpServerConfig: url: is required when transport"):
        McpServerConfig(transport="sse")
    with pytest.raises(ConfigError, match=r"^RuntimeConfig: models\._x: a slot is named"):
        RuntimeConfig(models={"_x": ModelConfig(provider="openai", model="a")})
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(ConfigError, match=r"^ModelConfig: .*: is nested more than 50 levels deep"):
        ModelConfig(provider="a:b", generate_kwargs=loop)


def test_objects_made_in_code_keep_marks_of_variables_as_they_are() -> None:
    """There is no environment to look into; the code can do that itself."""
    assert ModelConfig(provider="a:b", model="${A}").model == "${A}"


def test_the_configuration_is_light_to_import() -> None:
    """By itself, that is: the top of the package imports more."""
    code = (
        "import sys, types, importlib.util as u;"
        "spec = u.find_spec('asgi_agentrt');"
        "sys.modules['asgi_agentrt'] = top = types.ModuleType('asgi_agentrt');"
        "top.__path__ = spec.submodule_search_locations;"
        "import asgi_agentrt._config;"
        "heavy = {'jsonschema', 'httpx', 'starlette', 'anyio', 'asyncio', 'agentscope'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
