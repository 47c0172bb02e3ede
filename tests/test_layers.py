"""The package's layers: who may import whom, function bodies included."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "asgi_agentrt"

# A module imports from lower layers, or from its own sub-package: never sideways, never upwards.
LAYERS = {
    "exceptions": 0,
    "_types": 0,
    "_concurrency": 1,
    "_importing": 1,
    "_message": 1,
    "_shelf": 1,
    "_slots": 1,
    "_config": 2,
    "_app_base": 2,
    "_session": 3,
    "_agentscope": 3,
    "_platform": 3,
    "_project": 3,
    "_providers": 4,
    "agentscope": 4,
    "sessions": 4,
    "_generation": 5,
    "_run": 6,
    "_runtime": 7,
    "_server": 8,
    "_cli": 9,
    "testing": 9,
    "__main__": 10,
    "": 11,
}
# Libraries that are extras, or that change their process when imported.
HEAVY = frozenset(
    {
        "agentscope",
        "django",
        "fastapi",
        "mcp",
        "opentelemetry",
        "prometheus_client",
        "redis",
        "sse_starlette",
        "uvicorn",
    }
)
# Themselves imported only when they are used: a generation of AgentScope, a server of our own.
IMPORTED_LATE = ("_agentscope._v1", "_agentscope._v2", "_cli._uvicorn")


@dataclass(frozen=True)
class Import:
    """One imported name; `module` is dotted and absolute, `line` where it stands."""

    module: str
    line: int
    at_import: bool


@dataclass(frozen=True)
class Tree:
    """The modules of a package, by dotted name below it ("" is the package itself)."""

    name: str
    modules: dict[str, Path]

    @classmethod
    def read(cls, folder: Path) -> Tree:
        # A folder without an __init__.py is data, such as the files of a project template.
        files = [f for f in sorted(folder.rglob("*.py")) if (f.parent / "__init__.py").exists()]
        return cls(folder.name, {_dotted(file.relative_to(folder)): file for file in files})

    def imports(self, module: str) -> list[Import]:
        path = self.modules[module]
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        full = f"{self.name}.{inside}".rstrip(".")
        return list(_imports(ast.parse(path.read_text(encoding="utf-8")), full, at_import=True))

    def own(self, module: str) -> list[Import]:
        """The imports of this package's modules, each as the module's name below the package."""
        return [
            Import(found, item.line, item.at_import)
            for item in self.imports(module)
            if (found := self._resolve(item.module)) is not None
        ]

    def _resolve(self, imported: str) -> str | None:
        top, _, rest = imported.partition(".")
        if top != self.name:
            return None
        while rest and rest not in self.modules:  # `from .a import b`: b may be a name in a
            rest = rest.rpartition(".")[0]
        return rest


def faults(tree: Tree) -> list[str]:
    """Everything that breaks the layers, each as a line of text."""
    found: list[str] = []
    for module in tree.modules:
        unit = module.partition(".")[0]
        if unit not in LAYERS:
            found.append(f"{module}: has no layer in this test's table")
            continue
        for item in tree.own(module):
            other = item.module.partition(".")[0]
            if unit == other or LAYERS.get(other, 99) < LAYERS[unit]:
                continue
            found.append(f"{module}:{item.line}: imports {item.module or tree.name}")
    graph = {module: {item.module for item in tree.own(module)} for module in tree.modules}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"cycle: {' <- '.join(map(str, error.args[1]))}")
    return found


def heavy_imports(tree: Tree) -> list[str]:
    """Imports of heavy libraries that run when one of our modules is imported."""
    return [
        f"{module}:{item.line}: imports {item.module}"
        for module in tree.modules
        if not module.startswith(IMPORTED_LATE)
        for is_heavy, item in (
            *((item.module.partition(".")[0] in HEAVY, item) for item in tree.imports(module)),
            *((item.module.startswith(IMPORTED_LATE), item) for item in tree.own(module)),
        )
        if is_heavy and item.at_import
    ]


def _dotted(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(node: ast.AST, package: str, *, at_import: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield Import(alias.name, node.lineno, at_import)
        case ast.ImportFrom(module=module, names=names, level=level):
            parents = package.split(".")
            base = [*parents[: len(parents) - level + 1], *filter(None, [module])]
            source = ".".join(base) if level else module or ""
            for alias in names:
                yield Import(f"{source}.{alias.name}", node.lineno, at_import)
    for field, value in ast.iter_fields(node):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        runs = at_import and not (function and field == "body")
        if isinstance(node, ast.If) and field == "body" and _is_type_checking(node.test):
            runs = False
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _imports(child, package, at_import=runs)


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def test_the_package_keeps_its_layers() -> None:
    tree = Tree.read(PACKAGE)
    assert {"", "exceptions", "_server"} <= tree.modules.keys()
    assert faults(tree) == []


def test_heavy_libraries_are_imported_when_they_are_used() -> None:
    assert heavy_imports(Tree.read(PACKAGE)) == []


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "ours"
    names = ("__init__.py", "exceptions.py", "_run/__init__.py", "_run/_log.py")
    for name in (*names, "_cli/__init__.py", "_cli/_uvicorn.py"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "from ._run import Run",
        "from ._run._log import Log",
        "from . import _run",
        "import ours._run",
        "from ours import _run",
        "def late():\n    from ._run import Run",
        "class Late:\n    async def late(self):\n        import ours._run._log",
        "if TYPE_CHECKING:\n    from ._run import Run",
    ],
)
def test_an_upward_import_is_seen_in_every_spelling(package: Path, text: str) -> None:
    (package / "exceptions.py").write_text(text)
    [fault] = faults(Tree.read(package))
    assert fault.startswith("exceptions:")


def test_nothing_imports_the_package_itself(package: Path) -> None:
    (package / "_run/_log.py").write_text("from .. import AgentApp")
    assert faults(Tree.read(package)) == ["_run._log:1: imports ours"]


def test_a_cycle_inside_a_sub_package_is_seen(package: Path) -> None:
    (package / "_run/__init__.py").write_text("from ._log import Log")
    (package / "_run/_log.py").write_text("def late():\n    from . import Run")
    [fault] = faults(Tree.read(package))
    assert fault.startswith("cycle: ")


def test_a_module_without_a_layer_is_a_fault(package: Path) -> None:
    (package / "helpers.py").touch()
    assert faults(Tree.read(package)) == ["helpers: has no layer in this test's table"]


def test_a_downward_import_and_a_sibling_are_fine(package: Path) -> None:
    (package / "_run/__init__.py").write_text("from ..exceptions import A\nfrom ._log import Log")
    assert faults(Tree.read(package)) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("import redis.asyncio", 1),
        ("try:\n    from uvicorn import Server\nexcept ImportError:\n    pass", 1),
        ("class A:\n    import sse_starlette", 1),
        ("def late():\n    import redis", 0),
        ("if TYPE_CHECKING:\n    import redis", 0),
        ("from .agentscope import stream_agent", 0),
        ("from ._cli import _uvicorn", 1),
        ("def late():\n    from ._cli._uvicorn import Server", 0),
    ],
)
def test_a_heavy_import_counts_where_importing_us_would_run_it(
    package: Path, text: str, count: int
) -> None:
    (package / "exceptions.py").write_text(text)
    assert len(heavy_imports(Tree.read(package))) == count
