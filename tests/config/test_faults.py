"""Every fault is reported at once, each with its line, its path, and what to do.

The files and the full texts of their faults are in `faulty_files.txt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt._config import load_config
from asgi_agentrt.exceptions import ConfigError

from .conftest import Load


def _faulty_files() -> list[Any]:
    """Read `=== name`, the YAML, `>>>` and the text of the error, again and again."""
    text = (Path(__file__).parent / "faulty_files.txt").read_text(encoding="utf-8")
    params: list[Any] = []
    for block in text.split("=== ")[1:]:
        name, _, rest = block.partition("\n")
        content, _, expected = rest.partition(">>>\n")
        params.append(pytest.param(content, expected.removesuffix("\n"), id=name))
    return params


_FILES = _faulty_files()


def test_the_table_of_faulty_files_is_read() -> None:
    assert len(_FILES) > 70


@pytest.mark.parametrize(("content", "expected"), _FILES)
def test_a_faulty_file_is_refused_with_exactly_this_text(
    load: Load, content: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(content)
    assert str(caught.value) == expected


def test_a_missing_file_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("agentapp.yaml", project=tmp_path, environ={})
    assert str(caught.value) == f"agentapp.yaml: there is no such file in {tmp_path}"


def test_a_missing_project_folder_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config("agentapp.yaml", project=tmp_path / "nowhere", environ={})


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    with pytest.raises(ConfigError) as caught:
        load_config("conf", project=tmp_path, environ={})
    assert str(caught.value) == f"conf: is a folder: {tmp_path / 'conf'}"


def test_a_device_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("/dev/zero", project=tmp_path, environ={})
    assert str(caught.value) == "/dev/zero: is not a regular file: /dev/zero"


def test_a_name_that_no_file_can_have_is_a_fault(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(name, project=tmp_path, environ={})


def test_a_file_that_may_not_be_read_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads everything, so the refusal is the operating system's double."""
    (tmp_path / "agentapp.yaml").write_text("")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError) as caught:
        load_config("agentapp.yaml", project=tmp_path, environ={})
    assert str(caught.value) == "agentapp.yaml: cannot be read: Permission denied"


def test_a_huge_file_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("#" * 262_145)
    assert str(caught.value) == "agentapp.yaml: is larger than 262144 bytes"


def test_a_file_of_another_encoding_is_refused_at_its_line(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("models:\nsession:\n  save_dir: für\n".encode("latin-1"))
    assert str(caught.value) == "agentapp.yaml:3: is not UTF-8 text"
    with pytest.raises(ConfigError, match=r"yaml:1: is not UTF-8 text"):
        load("models:\n".encode("utf-16"))


def test_a_control_character_is_refused_at_its_line(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("models:\n\x07")
    assert str(caught.value) == (
        "agentapp.yaml:2: holds a control character, which YAML does not allow"
    )


def test_too_many_values_without_an_alias_are_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="holds more than 20000 values"):
        load(f"a: [{'1, ' * 30_000}]")


def test_merges_count_as_values(load: Load) -> None:
    many = ", ".join(f"k{index}: 1" for index in range(1000))
    uses = "".join(f"  s{index}: {{<<: *many}}\n" for index in range(1000))
    with pytest.raises(ConfigError, match="holds more than 20000 values"):
        load(f"many: &many {{{many}}}\nuses:\n{uses}")


def test_a_chain_of_aliases_is_as_deep_as_what_it_spells_out(load: Load) -> None:
    chain = "".join(f"a{index}: &a{index} [*a{index - 1}]\n" for index in range(1, 200))
    with pytest.raises(ConfigError, match=r"yaml:\d\d: is nested more than 50 levels deep"):
        load(f"a0: &a0 [1]\n{chain}")


def test_the_problems_are_there_for_programs_too(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("models:\n  main:\n    provider: openai\n")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.path) == ("agentapp.yaml", 2, "models.main.model")


def test_a_mapping_has_faults_without_lines(tmp_path: Path) -> None:
    source: Any = {"models": {"main": {"provider": "openai"}}, 3: 4, "server": {"port": "8080"}}
    with pytest.raises(ConfigError) as caught:
        load_config(source, project=tmp_path, environ={})
    assert str(caught.value) == (
        "config: a key must be text, got a int\n"
        "config: models.main.model: is required when provider is a built-in one\n"
        "config: server.port: expected a whole number, got '8080': remove the quotes"
    )


def test_a_mapping_of_things_that_are_no_json_has_faults(tmp_path: Path) -> None:
    main = {
        "provider": object(),
        "model": b"gpt-4",
        "stream": 1,
        "generate_kwargs": {"a": {1, 2}, "b": float("nan"), "c": 10**400, "d": [print]},
        "client_kwargs": 1 + 2j,
    }
    source: dict[str, Any] = {
        "models": {"main": main},
        "server": {
            "port": 10**5000,
            "debug": None,
            "max_queue": b"1",
            "ping_interval": float("inf"),
        },
        "session": {"ttl": True},
    }
    with pytest.raises(ConfigError) as caught:
        load_config(source, project=tmp_path, environ={})
    assert str(caught.value) == (
        "config: models.main.provider: expected text, got a value of type object\n"
        "config: models.main.model: expected text, got a value of type bytes\n"
        "config: models.main.stream: expected true or false, got 1\n"
        "config: models.main.generate_kwargs.a: expected a JSON value, got a value of type set\n"
        "config: models.main.generate_kwargs.b: expected a finite number, got nan\n"
        "config: models.main.generate_kwargs.c: expected a number of at most 64 bits, "
        "got a value of type int\n"
        "config: models.main.generate_kwargs.d[0]: expected a JSON value, "
        "got a value of type builtin_function_or_method\n"
        "config: models.main.client_kwargs: expected a mapping (key: value)\n"
        "config: server.port: must be at most 65535, got a value of type int\n"
        "config: server.max_queue: expected a whole number of callers, "
        "got a value of type bytes\n"
        "config: server.ping_interval: expected a number of seconds, got inf\n"
        "config: session.ttl: expected a number of seconds, got true"
    )


def test_a_mapping_inside_of_itself_is_a_fault(tmp_path: Path) -> None:
    loop: dict[str, Any] = {}
    loop["models"] = loop
    with pytest.raises(ConfigError, match="is nested more than 50 levels deep"):
        load_config(loop, project=tmp_path, environ={})
    wide: list[Any] = []
    wide += [wide, wide, wide]
    with pytest.raises(ConfigError, match="is nested more than 50 levels deep"):
        load_config({"models": wide}, project=tmp_path, environ={})
    with pytest.raises(ConfigError, match="holds more than 20000 values"):
        load_config({"models": [1] * 30_000}, project=tmp_path, environ={})
