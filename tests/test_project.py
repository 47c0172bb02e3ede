"""Loading a user's project: what is found, how its modules import each other, what is said."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from asgi_agentrt import AgentApp, Msg, SessionContext
from asgi_agentrt._project import LoadedApp, adopt_app, load_project
from asgi_agentrt.exceptions import ProjectError

APP = """
from asgi_agentrt import AgentApp

class App(AgentApp):
    async def __call__(self, msg, ctx):
        yield msg
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a project's files, each given as `name=text` with `__` for `/`; return the folder."""

    def write(app: str | None = APP, *, under: str = "project", **files: str) -> Path:
        folder = tmp_path / under
        folder.mkdir(exist_ok=True, parents=True)
        if app is not None:
            (folder / "app.py").write_text(textwrap.dedent(app))
        for name, text in files.items():
            parts = name.replace("__init__", "\0").replace("__", "/").replace("\0", "__init__")
            file = folder / f"{parts}.py"
            file.parent.mkdir(exist_ok=True, parents=True)
            file.write_text(textwrap.dedent(text))
        return folder

    return write


@pytest.fixture(autouse=True)
def _no_trace() -> Generator[None]:
    """A project may change neither the path nor what others import."""
    path, finders, names = list(sys.path), list(sys.meta_path), set(sys.modules)
    yield
    assert sys.path == path
    for name in set(sys.modules) - names:
        assert not name.startswith("helpers"), name
    # What a test left loaded is taken away, so that the next one begins as it did.
    for name in [name for name in sys.modules if name.startswith("_asgi_agentrt_project_")]:
        del sys.modules[name]
    sys.meta_path[:] = finders


def app_saying(expression: str, *imports: str) -> str:
    """Return an app.py whose `App.say` is made of what it imports."""
    return "\n".join(
        [
            *imports,
            "from asgi_agentrt import AgentApp",
            "class App(AgentApp):",
            f"    say = {expression}",
            "    async def __call__(self, msg, ctx):",
            "        yield msg",
        ]
    )


def said(folder: Path) -> Any:
    loaded = load_project(folder)
    try:
        return loaded.app.say  # type: ignore[attr-defined]
    finally:
        loaded.unload()


# ---- what is wrong -----------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        load_project(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere'}: no such folder; give the path of a project"
    )


def test_a_file_is_no_folder(write: Write) -> None:
    file = write() / "app.py"
    with pytest.raises(ProjectError, match="no such folder"):
        load_project(file)


def test_no_app_py(write: Write) -> None:
    folder = write(None)
    with pytest.raises(ProjectError) as caught:
        load_project(folder)
    assert str(caught.value) == (
        f"{folder / 'app.py'}: not found; a project needs an app.py with `class App(AgentApp)`"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no App; define `class App(AgentApp)`"),
        ("App = None", "has no App; define `class App(AgentApp)`"),
        ("class Application: ...", "has no App; define `class App(AgentApp)`"),
        ("class App: ...", "App must be a subclass of asgi_agentrt.AgentApp"),
        ("App = int", "App must be a subclass of asgi_agentrt.AgentApp"),
        (
            "App = 5",
            "App must be an AgentApp class or instance, or an async generator function, not int",
        ),
        (
            "def App(msg, ctx): yield 1",
            "App must be an AgentApp class or instance, or an async generator function,"
            " not function",
        ),
        (
            "from asgi_agentrt import AgentApp\nclass App(AgentApp): ...",
            "App must define `async def __call__(self, msg, ctx)`",
        ),
        (
            "from asgi_agentrt import AgentApp as App",
            "App must define `async def __call__(self, msg, ctx)`",
        ),
    ],
    ids=["empty", "None", "other-name", "no-base", "builtin", "number", "def", "abstract", "base"],
)
def test_no_usable_app(write: Write, text: str, reason: str) -> None:
    folder = write(text)
    with pytest.raises(ProjectError) as caught:
        load_project(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'app.py'}")
    assert message.endswith(reason)
    assert not [name for name in sys.modules if name.startswith("_asgi_agentrt_project_")]


def failure(folder: Path) -> str:
    with pytest.raises(ProjectError) as caught:
        load_project(folder)
    return str(caught.value)


def test_an_exception_while_importing_shows_the_users_lines_and_no_others(write: Write) -> None:
    folder = write(
        "from helpers.inner import answer\n",
        helpers____init__="",
        helpers__inner="def ask():\n    return 1 / 0\n\nanswer = ask()\n",
    )
    lines = [line for line in failure(folder).splitlines() if line.strip(" ~^")]
    assert lines == [
        f"{folder}/app.py: importing it failed",
        "Traceback (most recent call last):",
        f'  File "{folder}/app.py", line 1, in <module>',
        "    from helpers.inner import answer",
        f'  File "{folder}/helpers/inner.py", line 4, in <module>',
        "    answer = ask()",
        f'  File "{folder}/helpers/inner.py", line 2, in ask',
        "    return 1 / 0",
        "ZeroDivisionError: division by zero",
    ]


def test_chained_exceptions_are_shown_without_our_lines_too(write: Write) -> None:
    folder = write(
        """
        try:
            import helpers
        except ZeroDivisionError as error:
            raise RuntimeError("no helpers") from error
        """,
        helpers="1 / 0",
    )
    message = failure(folder)
    assert "ZeroDivisionError: division by zero" in message
    assert "The above exception was the direct cause" in message
    assert message.endswith("RuntimeError: no helpers")
    assert "_project.py" not in message
    assert "importlib" not in message


def test_a_project_beside_us_or_with_a_strange_path_keeps_its_lines(write: Write) -> None:
    for under in ("importlib/project", "asgi_agentrt_demo"):
        folder = write("import helpers", under=under, helpers="1 / 0")
        message = failure(folder)
        assert f'File "{folder}/app.py", line 1' in message
        assert f'File "{folder}/helpers.py", line 1' in message


@pytest.mark.parametrize("where", ["app", "helpers"])
def test_a_syntax_error_shows_its_place(write: Write, where: str) -> None:
    bad = "x = 1\ndef broken(:\n    pass\n"
    folder = write(bad if where == "app" else "import helpers", helpers=bad)
    message = failure(folder)
    assert f'File "{folder}/{where}.py", line 2' in message
    assert "def broken(:" in message
    assert message.endswith("SyntaxError: invalid syntax")
    assert "_project.py" not in message


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("from helpers import absent", "ImportError: cannot import name 'absent' from"),
        ("import helpers.absent", "ModuleNotFoundError: No module named"),
        ("from . import absent", "ImportError: cannot import name 'absent' from"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("x = '\\0'.encode('ascii').decode('utf-16')", "UnicodeDecodeError"),
    ],
    ids=["module", "name", "sub-module", "relative", "exit", "base", "decode"],
)
def test_whatever_is_raised_while_importing_is_told(write: Write, text: str, last: str) -> None:
    folder = write(text, helpers="")
    message = failure(folder)
    assert message.startswith(f"{folder / 'app.py'}: importing it failed\n")
    assert last in message.splitlines()[-1]


def test_a_file_that_is_no_text_is_told(write: Write) -> None:
    folder = write()
    (folder / "app.py").write_bytes(b"\xff\xfe\x00")
    assert "SyntaxError" in failure(folder)


def test_an_interrupt_while_importing_is_not_kept(write: Write) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_project(write("raise KeyboardInterrupt"))


@pytest.mark.parametrize("error", ["ValueError('no key')", "SystemExit(3)"])
def test_a_constructor_that_raises_is_told(write: Write, error: str) -> None:
    folder = write(
        f"""
        from asgi_agentrt import AgentApp
        class App(AgentApp):
            def __init__(self):
                raise {error}
            async def __call__(self, msg, ctx):
                yield msg
        """
    )
    message = failure(folder)
    assert message.startswith(
        f"{folder / 'app.py'}: App could not be made (it is called without arguments)\n"
    )
    assert f'File "{folder}/app.py", line 5, in __init__' in message
    assert "_project.py" not in message


def test_a_constructor_that_wants_arguments_is_told(write: Write) -> None:
    folder = write(
        """
        from asgi_agentrt import AgentApp
        class App(AgentApp):
            def __init__(self, model): ...
            async def __call__(self, msg, ctx):
                yield msg
        """
    )
    assert "missing 1 required positional argument: 'model'" in failure(folder)


# ---- how modules find each other ---------------------------------------------------------------

SPELLINGS = {
    "import": ("import helpers", "helpers.NAME"),
    "as": ("import helpers as h", "h.NAME"),
    "from": ("from helpers import NAME", "NAME"),
    "star": ("from helpers import *", "NAME"),
    "relative": ("from . import helpers", "helpers.NAME"),
    "relative-from": ("from .helpers import NAME", "NAME"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_module_beside_the_app_is_imported(write: Write, spelling: str) -> None:
    line, expression = SPELLINGS[spelling]
    assert said(write(app_saying(expression, line), helpers="NAME = 'mine'")) == "mine"


@pytest.mark.parametrize(
    ("line", "expression"),
    [
        ("import tools.inner.deep", "tools.inner.deep.NAME"),
        ("import tools.inner.deep as deep", "deep.NAME"),
        ("from tools.inner import deep", "deep.NAME"),
        ("from tools.inner.deep import NAME", "NAME"),
        ("from tools import NAME", "NAME"),
        ("import tools", "tools.NAME"),
        ("from .tools.inner.deep import NAME", "NAME"),
    ],
)
def test_sub_packages(write: Write, line: str, expression: str) -> None:
    folder = write(
        app_saying(expression, line),
        tools____init__="from .inner.deep import NAME",
        tools__inner____init__="import helpers",
        tools__inner__deep="from helpers import NAME\nfrom ...helpers import NAME as again\n"
        "from .. import inner\nassert again == NAME",
        helpers="NAME = 'deep'",
    )
    assert said(folder) == "deep"


def test_a_module_is_loaded_once_however_it_is_spelled(write: Write) -> None:
    folder = write(
        app_saying(
            "(one is two is three, len(one.LOADED))",
            "import helpers as one",
            "from . import helpers as two",
            "import other",
            "three = other.helpers",
        ),
        helpers="LOADED = []\nLOADED.append(1)",
        other="import helpers",
    )
    assert said(folder) == (True, 1)


def test_two_projects_never_share_a_module(write: Write) -> None:
    loaded = []
    for name in ("one", "two"):
        folder = write(
            app_saying("helpers.NAME", "import helpers"), under=name, helpers=f"NAME = '{name}'"
        )
        loaded.append(load_project(folder))
    assert [each.app.say for each in loaded] == ["one", "two"]  # type: ignore[attr-defined]
    assert "helpers" not in sys.modules
    for each in loaded:
        each.unload()


def test_two_loads_of_one_project_share_nothing(write: Write) -> None:
    folder = write(app_saying("helpers.LIST", "import helpers"), helpers="LIST = []")
    first, second = load_project(folder), load_project(folder)
    assert first.app.say is not second.app.say  # type: ignore[attr-defined]
    first.unload()
    assert load_project(folder).app.say == []  # type: ignore[attr-defined]
    second.unload()


async def test_imports_inside_functions_find_their_own_project(write: Write) -> None:
    apps = []
    for name in ("one", "two"):
        folder = write(
            """
            from asgi_agentrt import AgentApp
            class App(AgentApp):
                async def __call__(self, msg, ctx):
                    import helpers
                    from late import NAME
                    from .late import NAME as again
                    assert again is NAME
                    yield helpers.NAME + NAME
            """,
            under=name,
            helpers=f"NAME = '{name}'",
            late="import helpers\nNAME = ' late ' + helpers.NAME",
        )
        apps.append(load_project(folder))
    said = [[item async for item in each.app(None, None)] for each in apps]
    assert said == [["one late one"], ["two late two"]]
    for each in apps:
        each.unload()


def test_a_module_may_have_the_name_of_a_standard_one(write: Write) -> None:
    """For the project it is its own; for everybody else nothing has changed."""
    folder = write(
        app_saying("(json.NAME, helpers.text)", "import json, helpers"),
        json="NAME = 'mine'",
        helpers="import logging.config, email\ntext = email.message_from_string('a: b')['a']",
    )
    assert said(folder) == ("mine", "b")
    import json

    assert json.loads("1") == 1


def test_a_mere_folder_does_not_hide_an_installed_module(write: Write) -> None:
    """`sessions/` or `httpx/` may hold files and nothing to import."""
    folder = write(app_saying("httpx.Client.__name__", "import httpx"))
    (folder / "httpx").mkdir()
    (folder / "httpx" / "notes.txt").write_text("")
    assert said(folder) == "Client"


def test_a_mere_folder_is_a_package_when_nothing_else_has_its_name(write: Write) -> None:
    folder = write(app_saying("NAME", "from my_tools.inner import NAME"))
    (folder / "my_tools").mkdir()
    (folder / "my_tools" / "inner.py").write_text("import helpers\nNAME = helpers.NAME")
    (folder / "helpers.py").write_text("NAME = 'found'")
    assert said(folder) == "found"


def test_circular_imports_work_as_they_do_elsewhere(write: Write) -> None:
    folder = write(
        app_saying("one.two.one.NAME", "import one"),
        one="import two\nNAME = 'round'",
        two="import one",
    )
    assert said(folder) == "round"


def test_modules_know_their_files_and_sources(write: Write) -> None:
    folder = write(
        app_saying(
            "(__file__, helpers.__file__, inspect.getsource(helpers.answer))",
            "import helpers, inspect",
        ),
        helpers="def answer():\n    return 42\n",
    )
    assert said(folder) == (
        str(folder / "app.py"),
        str(folder / "helpers.py"),
        "def answer():\n    return 42\n",
    )


def test_dataclasses_enums_and_annotations_work_in_a_project(write: Write) -> None:
    """They look their module up in sys.modules."""
    folder = write(
        app_saying(
            "(helpers.Point(1, 2), helpers.hints())",
            "from __future__ import annotations",
            "import helpers",
        ),
        helpers="""
        from __future__ import annotations
        import dataclasses, typing
        @dataclasses.dataclass
        class Point:
            x: int
            y: typing.ClassVar[int] = 1
            z: int = 0
        def hints():
            return typing.get_type_hints(Point)["x"] is int
        """,
    )
    point, hints = said(folder)
    assert (point.x, point.z, hints) == (1, 2, True)


def test_nothing_is_written_beside_the_sources(write: Write) -> None:
    folder = write(app_saying("1", "import helpers"), helpers="")
    said(folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["app.py", "helpers.py"]


def test_a_file_with_a_declared_encoding_is_read_in_it(write: Write) -> None:
    folder = write()
    text = f"# -*- coding: latin-1 -*-\n{app_saying('chr(233) == NAME', 'NAME = chr(0x23)')}"
    (folder / "app.py").write_bytes(text.replace("chr(0x23)", "'\xe9'").encode("latin-1"))
    assert said(folder) is True


# ---- forgetting and reading again --------------------------------------------------------------


def test_unloading_forgets_every_module(write: Write) -> None:
    folder = write(
        app_saying("1", "import helpers, tools.inner"),
        helpers="",
        tools____init__="",
        tools__inner="",
    )
    before, finders = set(sys.modules), list(sys.meta_path)
    loaded = load_project(folder)
    assert len(set(sys.modules) - before) == 5  # the package, app, helpers, tools, tools.inner
    loaded.unload()
    loaded.unload()
    assert set(sys.modules) == before
    assert sys.meta_path == finders


def test_a_load_that_failed_leaves_nothing(write: Write) -> None:
    folder = write("import helpers\n1 / 0", helpers="")
    before, finders = set(sys.modules), list(sys.meta_path)
    failure(folder)
    assert set(sys.modules) == before
    assert sys.meta_path == finders


def test_an_edit_within_the_same_second_and_of_the_same_size_is_seen(write: Write) -> None:
    folder = write(app_saying("helpers.NAME", "import helpers"), helpers="NAME = 'a'")
    os.utime(folder / "helpers.py", (1_000_000_000, 1_000_000_000))
    assert said(folder) == "a"
    (folder / "helpers.py").write_text("NAME = 'b'")
    os.utime(folder / "helpers.py", (1_000_000_000, 1_000_000_000))
    assert said(folder) == "b"


def test_a_module_that_was_added_is_seen(write: Write) -> None:
    folder = write(app_saying("'none'"))
    assert said(folder) == "none"
    stat = folder.stat()
    write(app_saying("new.NAME", "import new"), new="NAME = 'added'")
    os.utime(folder, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert said(folder) == "added"


# ---- which class of message --------------------------------------------------------------------


def wanted(annotation: str, *lines: str) -> str:
    return "\n".join(
        [
            *lines,
            "from asgi_agentrt import AgentApp, Msg, SessionContext",
            "import asgi_agentrt",
            "class App(AgentApp):",
            f"    async def __call__(self, msg{annotation}, ctx):",
            "        yield msg",
        ]
    )


@pytest.mark.parametrize("future", [(), ("from __future__ import annotations",)])
@pytest.mark.parametrize(
    ("annotation", "lines", "expected"),
    [
        ("", (), "ours"),
        (": Msg", (), "ours"),
        (": asgi_agentrt.Msg", (), "ours"),
        (": 'Msg'", (), "ours"),
        (": dict", (), "dict"),
        (": dict[str, object]", (), "dict"),
        (": 'dict[str, object]'", (), "dict"),
        (": Mapping[str, object]", ("from collections.abc import Mapping",), "dict"),
        (": Dict", ("from typing import Dict",), "dict"),
        (": T", ("from typing import TypedDict", "class T(TypedDict): x: int"), "dict"),
        (": Any", ("from typing import Any",), "ours"),
        (": object", (), "ours"),
        (": int", (), "ours"),
    ],
)
def test_the_annotation_says_which_class_of_message(
    write: Write, future: tuple[str, ...], annotation: str, lines: tuple[str, ...], expected: str
) -> None:
    loaded = load_project(write(wanted(annotation, *future, *lines)))
    assert loaded.message_class == expected
    loaded.unload()


def test_a_name_for_type_checkers_only_means_the_default(write: Write) -> None:
    folder = write(
        wanted(
            ": TheirMsg",
            "from __future__ import annotations",
            "from typing import TYPE_CHECKING",
            "if TYPE_CHECKING:",
            "    from agentscope.message import Msg as TheirMsg",
        )
    )
    loaded = load_project(folder)
    assert loaded.message_class == "ours"
    loaded.unload()


FAKE_AGENTSCOPE = "class Msg: ...\nMsg.__module__ = 'agentscope.message'"


@pytest.mark.parametrize(
    ("annotation", "expected"), [("", "agentscope"), (": dict", "dict"), (": Msg", "ours")]
)
@pytest.mark.parametrize("where", ["app", "helpers"])
def test_whoever_imports_agentscope_gets_its_messages_by_default(
    write: Write,
    annotation: str,
    expected: str,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "agentscope.py").write_text(FAKE_AGENTSCOPE)
    line = "import agentscope"
    app = wanted(annotation, line if where == "app" else "import helpers")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "site")
        patch.delitem(sys.modules, "agentscope", raising=False)
        loaded = load_project(write(app, helpers=line))
        patch.delitem(sys.modules, "agentscope")
    assert loaded.message_class == expected
    loaded.unload()


def test_an_annotation_with_agentscopes_class_asks_for_it(write: Write) -> None:
    folder = write(wanted(": helpers.Msg", "import helpers"), helpers=FAKE_AGENTSCOPE)
    loaded = load_project(folder)
    assert loaded.message_class == "agentscope"
    loaded.unload()


@pytest.mark.parametrize(
    "last",
    [
        "App = Kept()",
        "App = Kept().method",
        "async def App(msg: dict, ctx):\n    yield msg",
    ],
    ids=["instance", "method", "function"],
)
def test_an_instance_or_a_function_will_do_for_an_app(write: Write, last: str) -> None:
    folder = write(
        f"""
from __future__ import annotations
from asgi_agentrt import AgentApp
class Kept(AgentApp):
    async def __call__(self, msg: dict, ctx):
        yield msg
    async def method(self, msg: dict, ctx):
        yield msg
{last}
"""
    )
    loaded = load_project(folder)
    assert loaded.message_class == "dict"
    loaded.unload()


# ---- apps that the host hands over -------------------------------------------------------------


class Handed(AgentApp):
    def __init__(self) -> None:
        self.events: list[str] = []

    async def __call__(self, msg: Msg, ctx: SessionContext) -> Any:
        yield msg

    async def on_startup(self) -> None:
        self.events.append("up")

    async def on_shutdown(self) -> None:
        self.events.append("down")


async def generator(msg: dict[str, Any], ctx: SessionContext) -> Any:
    yield msg


async def coroutine(msg, ctx):  # type: ignore[no-untyped-def]
    return [msg]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(Handed, "ours"), (Handed(), "ours"), (generator, "dict"), (coroutine, "ours")],
    ids=["class", "instance", "generator", "coroutine"],
)
def test_an_app_may_be_handed_over(given: object, expected: str) -> None:
    loaded = adopt_app(given)
    assert loaded.message_class == expected
    loaded.unload()


@pytest.mark.parametrize("given", [5, "app", int, AgentApp, lambda msg, ctx: None, object()])
def test_what_is_no_app_is_refused(given: object) -> None:
    with pytest.raises(ProjectError, match=r"^app must "):
        adopt_app(given)


async def test_the_hooks_of_an_app_are_called() -> None:
    app = Handed()
    loaded = adopt_app(app)
    await loaded.on_startup()
    await loaded.on_shutdown()
    assert app.events == ["up", "down"]
    without = LoadedApp(generator, "ours", lambda: None)
    await without.on_startup()
    await without.on_shutdown()
