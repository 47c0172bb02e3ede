"""Whatever stands in the file or mapping: a configuration or a ConfigError, and soon."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asgi_agentrt._config import RuntimeConfig, json_schema, load_config
from asgi_agentrt.exceptions import ConfigError

from .conftest import Load

_ENVIRON = {"A": "x", "N": "5", "T": "true"}

_KEYS = sorted(
    {
        *json_schema()["properties"],
        *(k for d in json_schema()["$defs"].values() for k in d.get("properties", {})),
    }
)
_WORDS = [
    *_KEYS,
    *("openai", "redis", "json", "stdio", "sse", "a:b", "http://h", "redis://h", "auto", "off"),
    *("1", "-1", "0", "1e5", ".nan", "0x1", "017", "1_0", "1:30", "yes", "true", "~", "''", "null"),
    *(
        "${A}",
        "${N}",
        "${T}",
        "${",
        "$${",
        "${}",
        "${X:-y}",
        "*a",
        "&a",
        "&a x",
        "!t",
        "!!str",
        "|",
    ),
    *(
        "<<",
        "<<: *a",
        "- ",
        "? ",
        ": ",
        "#",
        "---",
        "...",
        "%",
        "@",
        "`",
        "\t",
        "\\",
        "'",
        '"',
        "\0",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        ",",
        "\n",
        "\n  ",
        "\n    ",
        "\r\n",
        "\ufeff",
        "\u2028",
        "é",
        "\U0001f600",
    ),
    *('"\\UFFFFFFFF"', '"\\ud800"', '"\\x00"', "!!python/object:os.system", "%YAML 9.9\n---\n"),
]
_YAMLISH = st.lists(st.one_of(st.sampled_from(_WORDS), st.text(max_size=3)), max_size=60).map(
    " ".join
)
_LINES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(_KEYS), st.sampled_from(_WORDS)), max_size=25
).map(lambda lines: "\n".join(f"{'  ' * depth}{key}: {word}" for depth, key, word in lines))

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(_WORDS),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.dates(),
    st.builds(object),
)
_STRUCTURES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(_KEYS), st.text(max_size=3), st.integers()), inner, max_size=6
        ),
    ),
    max_leaves=25,
)

# A shared machine may be slow to make an example; one that takes seconds to read is a fault.
_LIMITS = settings(
    max_examples=150, deadline=5000, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def _only_faults(source: Any, project: Path) -> None:
    try:
        config = load_config(source, project=project, environ=_ENVIRON)
    except ConfigError as caught:
        error = caught
    else:
        assert isinstance(config, RuntimeConfig)
        assert repr(config)
        return
    assert error.problems
    for problem in error.problems:
        assert str(problem).isprintable()
        str(problem).encode()


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@_LIMITS
@given(text=st.one_of(_YAMLISH, _LINES, st.text()))
def test_any_text_is_a_configuration_or_has_faults(folder: Path, text: str) -> None:
    (folder / "agentapp.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    _only_faults("agentapp.yaml", folder)


@_LIMITS
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_have_faults(folder: Path, content: bytes) -> None:
    (folder / "agentapp.yaml").write_bytes(content)
    _only_faults("agentapp.yaml", folder)


@_LIMITS
@given(source=st.dictionaries(st.sampled_from(_KEYS), _STRUCTURES, max_size=6))
def test_any_mapping_is_a_configuration_or_has_faults(folder: Path, source: Any) -> None:
    _only_faults(source, folder)


_SIZE = 250_000


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * _SIZE, id="brackets"),
        pytest.param("{" * _SIZE, id="braces"),
        pytest.param("- " * (_SIZE // 2), id="dashes"),
        pytest.param("? " * (_SIZE // 2), id="questions"),
        pytest.param("a: " * (_SIZE // 3), id="colons"),
        pytest.param("&a " * (_SIZE // 3), id="anchors"),
        pytest.param("---\n" * (_SIZE // 4), id="documents"),
        pytest.param("server: {port: " + "9" * _SIZE + "}", id="digits"),
        pytest.param("server: {host: '" + "${" * (_SIZE // 2) + "'}", id="variables"),
        pytest.param("".join(" " * n + "a:\n" for n in range(700)), id="indentation"),
    ],
)
def test_large_nonsense_ends_soon(load: Load, text: str) -> None:
    """Each takes well under a second; a quadratic reader would take minutes."""
    with pytest.raises(ConfigError):
        load(text)
