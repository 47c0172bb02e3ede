"""`${VAR}` is filled in once, everywhere, and never tells what it held."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgi_agentrt._config import RuntimeConfig, load_config
from asgi_agentrt._config._env import expand
from asgi_agentrt.exceptions import ConfigError

from .conftest import Load

_ENVIRON = {"A": "1", "B": "${A}", "C_2": "x: [y]", "EMPTY": "", "_": "low"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${A}", "1"),
        ("${A}${A}", "11"),
        ("a ${A} b ${EMPTY} c", "a 1 b  c"),
        ("${B}", "${A}"),
        ("${C_2} ${_}", "x: [y] low"),
        ("$A", "$A"),
        ("$", "$"),
        ("5$", "5$"),
        ("$$", "$$"),
        ("$${A}", "${A}"),
        ("$${", "${"),
        ("$$${A}", "$${A}"),
        ("$${${A}}", "${1}"),
        ("${A}$${A}", "1${A}"),
        ("{A}", "{A}"),
        ("$ {A}", "$ {A}"),
    ],
)
def test_variables_are_filled_in_once(text: str, expected: str) -> None:
    assert expand(text, _ENVIRON).text == expected
    assert expand(text, _ENVIRON).faults == ()


def test_the_names_are_remembered_once_and_in_order() -> None:
    assert expand("${C_2} ${A} ${C_2}", _ENVIRON).names == ("C_2", "A")


def test_all_faults_of_one_text_are_found() -> None:
    assert expand("${NO} ${A:-x} ${NO} ${} ${a b} ${A", _ENVIRON).faults == (
        "environment variable NO is not set",
        "there is no default syntax: write ${A} and set A in the environment",
        "${} names no environment variable; write $${ for a literal ${",
        "${…} holds no valid variable name (letters, digits and _); write $${ for a literal ${",
        "${ is not closed by }; write $${ for a literal ${",
    )


def test_text_that_grows_without_end_is_refused() -> None:
    expanded = expand("${A}" * 20, {"A": "x" * 100_000})
    assert expanded.text == ""
    assert expanded.faults == ("is too long once its variables are filled in",)


_EVERYWHERE = """
models:
  main:
    provider: ${PROVIDER}
    model: "${MODEL}"
    api_key: ${KEY}
    stream: ${STREAM}
    generate_kwargs: {stop: ["${STOP}", {deep: '${STOP}!'}], price: "$${STOP}"}
mcp_servers:
  a:
    transport: ${TRANSPORT}
    command: run
    args: ["--key=${KEY}"]
    env: {KEY: "${KEY}"}
    timeout: ${TIMEOUT}
server: {port: "${PORT}", max_concurrency: "${LIMIT}"}
"""
_VALUES = {
    "PROVIDER": "openai",
    "MODEL": "a: b",
    "KEY": "sk-1",
    "STREAM": "no",
    "STOP": "[1, 2]",
    "TRANSPORT": "stdio",
    "TIMEOUT": "2.5",
    "PORT": "8081",
    "LIMIT": "7",
}


def _check(config: RuntimeConfig) -> None:
    main, server = config.models["main"], config.mcp_servers["a"]
    assert (main.provider, main.model, main.api_key) == ("openai", "a: b", "sk-1")
    assert main.stream is False
    assert main.generate_kwargs == {"stop": ["[1, 2]", {"deep": "[1, 2]!"}], "price": "${STOP}"}
    assert (server.transport, server.args, server.timeout) == ("stdio", ("--key=sk-1",), 2.5)
    assert server.env == {"KEY": "sk-1"}
    assert (config.server.port, config.server.max_concurrency) == (8081, 7)


def test_a_file_takes_variables_in_every_value(load: Load) -> None:
    _check(load(_EVERYWHERE, _VALUES))


def test_a_mapping_takes_variables_in_every_value(tmp_path: Path) -> None:
    source = {
        "models": {
            "main": {
                "provider": "${PROVIDER}",
                "model": "${MODEL}",
                "api_key": "${KEY}",
                "stream": "${STREAM}",
                "generate_kwargs": {
                    "stop": ("${STOP}", {"deep": "${STOP}!"}),
                    "price": "$${STOP}",
                },
            }
        },
        "mcp_servers": {
            "a": {
                "transport": "${TRANSPORT}",
                "command": "run",
                "args": ["--key=${KEY}"],
                "env": {"KEY": "${KEY}"},
                "timeout": "${TIMEOUT}",
            }
        },
        "server": {"port": "${PORT}", "max_concurrency": "${LIMIT}"},
    }
    _check(load_config(source, project=tmp_path, environ=_VALUES))


def test_keys_are_not_filled_in(load: Load) -> None:
    config = load(
        'models: {main: {provider: "a:b", generate_kwargs: {"${A}": "${A}"}}}', {"A": "x"}
    )
    assert config.models["main"].generate_kwargs == {"${A}": "x"}


def test_a_value_is_not_read_as_yaml(load: Load) -> None:
    text = 'models: {main: {provider: "a:b", model: "${A}", generate_kwargs: {n: "${N}"}}}'
    config = load(text, {"A": "*anchor", "N": "5"})
    assert config.models["main"].model == "*anchor"
    assert config.models["main"].generate_kwargs == {"n": "5"}
    assert load("session: {save_dir: '${A}'}", {"A": "null"}).session.save_dir == "null"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("port", "80 80", "expected a whole number, got <from ${V}>"),
        ("port", "", "expected a whole number, got <from ${V}>"),
        ("port", " 80", "expected a whole number, got <from ${V}>"),
        ("port", "080", "expected a whole number, got <from ${V}>"),
        ("port", "8_0", "expected a whole number, got <from ${V}>"),
        ("port", "٨٠", "expected a whole number, got <from ${V}>"),
        ("port", "1e2", "expected a whole number, got <from ${V}>"),
        ("port", "70000", "must be at most 65535, got <from ${V}>"),
        ("ping_interval", "nan", "expected a number of seconds, got <from ${V}>"),
        ("ping_interval", "inf", "expected a number of seconds, got <from ${V}>"),
        ("ping_interval", "-1", "must be above 0 seconds, got <from ${V}>"),
        ("debug", "1", "expected true or false, got <from ${V}>"),
        ("debug", "", "expected true or false, got <from ${V}>"),
        ("signals", "Off", "must be one of auto, off, got <from ${V}>"),
        ("host", "a b", "must be a host name or an IP address, nothing more, got <from ${V}>"),
        ("host", "", "must not be empty, got <from ${V}>"),
        ("api_key", "", "must not be empty, got <from ${V}>"),
        (
            "api_key",
            "key\n",
            "must be printable ASCII, without spaces and line breaks, got <from ${V}>",
        ),
        ("host", "\udcff", "holds characters that are not valid Unicode"),
    ],
)
def test_a_value_is_converted_strictly_and_never_repeated(
    load: Load, key: str, value: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"server:\n  {key}: ${{V}}\n", {"V": value})
    assert str(caught.value) == f"agentapp.yaml:2: server.{key}: {expected}"


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("ON", True), ("False", False), ("no", False)]
)
def test_words_for_true_and_false_are_taken(load: Load, value: str, *, expected: bool) -> None:
    assert load("server: {debug: '${V}'}", {"V": value}).server.debug is expected


def test_two_variables_in_one_value_are_both_named(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"got <from \$\{A\}, \$\{B\}>"):
        load('tracing: {endpoint: "${A}/${B}"}', {"A": "x", "B": "y"})


def test_a_misspelt_value_from_the_environment_gets_no_guess(load: Load) -> None:
    """A guess would tell what the value is like."""
    text = "models: {main: {provider: '${V}', model: a}}\nsession: {backend: '${V}'}"
    with pytest.raises(ConfigError) as caught:
        load(text, {"V": "opena"})
    assert "did you mean" not in str(caught.value)
    assert "opena'" not in str(caught.value)


_PLATFORM = """
platform:
  endpoint: ${URL}
  instance_id: ${ID}
  token: ${TOKEN}
tracing:
  endpoint: ${TRACES}
"""


def test_empty_variables_switch_the_platform_and_tracing_off(load: Load) -> None:
    config = load(_PLATFORM, dict.fromkeys(("URL", "ID", "TOKEN", "TRACES"), ""))
    assert config == RuntimeConfig()
