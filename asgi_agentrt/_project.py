"""Load a user's app.py, apart from everything else that this process has loaded.

Each load gets a package name of its own. `app.py` and the modules beside it become modules of that
package, so two projects (or two loads of one) never share a `helpers.py`. An absolute
`import helpers` works as it does for a script: the modules of a project get an `__import__` that
looks beside them first.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import inspect
import itertools
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from ._app_base import AgentApp
from .exceptions import ProjectError

MessageClass = Literal["agentscope", "ours", "dict"]

_PREFIX = "_asgi_agentrt_project_"
_numbers = itertools.count(1)
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True, slots=True)
class LoadedApp:
    """An app, what class of message it wants, and how to forget the modules it came from."""

    app: Callable[..., Any]
    message_class: MessageClass
    unload: Callable[[], None]

    async def on_startup(self) -> None:
        """Run the app's own start-up, if it has one."""
        if isinstance(self.app, AgentApp):
            await self.app.on_startup()

    async def on_shutdown(self) -> None:
        """Run the app's own shutdown, if it has one."""
        if isinstance(self.app, AgentApp):
            await self.app.on_shutdown()


def load_project(folder: Path) -> LoadedApp:
    """Import `app.py` of a project folder and make its `App`.

    Blocks: it runs the user's module. Meant for a worker thread.

    Raises:
        ProjectError: there is no such folder, no app.py, no usable App, or importing it failed.
    """
    file = folder / "app.py"
    if not folder.is_dir():
        raise ProjectError(f"{folder}: no such folder; give the path of a project")
    if not file.is_file():
        raise ProjectError(
            f"{file}: not found; a project needs an app.py with `class App(AgentApp)`"
        )
    package = _Package(folder)
    try:
        module = package.load("app")
    except BaseException as error:
        package.unload()
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ProjectError(f"{file}: importing it failed\n{users_traceback(error)}") from error
    try:
        found = getattr(module, "App", None)
        if found is None:
            raise ProjectError(f"{file}: has no App; define `class App(AgentApp)`")
        app = _instantiate(found, f"{file}: App")
    except BaseException:
        package.unload()
        raise
    default: MessageClass = "agentscope" if "agentscope" in package.imported else "ours"
    return LoadedApp(app, _wanted_message(_function_of(app), default), package.unload)


def adopt_app(given: object) -> LoadedApp:
    """Use an app that the host handed over: an `AgentApp` class or instance, or an async generator.

    Raises:
        ProjectError: it is none of these.
    """
    app = _instantiate(given, "app")
    function = _function_of(app)
    module = sys.modules.get(getattr(function, "__module__", ""))
    names = vars(module).values() if module is not None else ()
    uses_agentscope = any(
        (
            value.__name__
            if isinstance(value, ModuleType)
            else getattr(value, "__module__", None) or ""
        ).partition(".")[0]
        == "agentscope"
        for value in names
        if isinstance(value, ModuleType | type | types.FunctionType)
    )
    default: MessageClass = "agentscope" if uses_agentscope else "ours"
    return LoadedApp(app, _wanted_message(function, default), lambda: None)


def _instantiate(given: object, where: str) -> Callable[..., Any]:
    if isinstance(given, type):
        if not issubclass(given, AgentApp):
            raise ProjectError(f"{where} must be a subclass of asgi_agentrt.AgentApp")
        if inspect.isabstract(given):
            raise ProjectError(f"{where} must define `async def __call__(self, msg, ctx)`")
        try:
            return given()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            # SystemExit too: a guest does not exit its host.
            raise ProjectError(
                f"{where} could not be made (it is called without arguments)\n"
                f"{users_traceback(error)}"
            ) from error
    if isinstance(given, AgentApp):
        return given
    if inspect.isasyncgenfunction(given) or inspect.iscoroutinefunction(given):
        return given
    raise ProjectError(
        f"{where} must be an AgentApp class or instance, or an async generator function,"
        f" not {type(given).__qualname__}"
    )


def _function_of(app: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function behind an app, which knows its annotations and its module."""
    return type(app).__call__ if isinstance(app, AgentApp) else app


def _wanted_message(function: Any, default: MessageClass) -> MessageClass:
    """Read the class that the `msg` parameter is annotated with."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return default
    if parameters and parameters[0].name in ("self", "cls"):
        del parameters[0]
    if not parameters or parameters[0].annotation is inspect.Parameter.empty:
        return default
    annotation = parameters[0].annotation
    # One in quotes, below `from __future__ import annotations`, is a string in a string.
    for _ in range(2):
        if isinstance(annotation, str):
            try:
                namespace = inspect.unwrap(function).__globals__
                # The user's own annotation, in the user's own module: as typing.get_type_hints.
                annotation = eval(annotation, namespace)  # noqa: S307
            except Exception:  # noqa: BLE001  a name that exists for type checkers only
                return default
    origin = getattr(annotation, "__origin__", annotation)
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "dict"
    top = (getattr(annotation, "__module__", None) or "").partition(".")[0]
    if top == "agentscope":
        return "agentscope"
    return "ours" if top == __name__.partition(".")[0] else default


def users_traceback(error: BaseException) -> str:
    """Format a traceback without the frames of this package and of the import system."""
    told = traceback.TracebackException.from_exception(error)
    chain: list[traceback.TracebackException | None] = [told]
    while chain:
        link = chain.pop()
        if link is not None:
            link.stack = traceback.StackSummary.from_list(
                [frame for frame in link.stack if not _is_ours(frame.filename)]
            )
            chain += [link.__cause__, link.__context__]
    return "".join(told.format()).rstrip()


def _is_ours(file: str) -> bool:
    return file.startswith((f"{_HERE}{os.sep}", "<frozen importlib")) or file == importlib.__file__


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module of a project; reads the source each time and writes no bytecode.

    Bytecode files are told apart by size and full seconds: a quick edit would not be seen.
    """

    def __init__(self, fullname: str, path: str, scope: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._scope = scope

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._scope
        super().exec_module(module)


class _Package:
    """One load of one project: a package of its own, and how its modules import each other.

    `imported` holds the top-level names that they took from elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"{_PREFIX}{next(_numbers)}"
        self.imported: set[str] = set()
        self._scope = {**vars(builtins), "__import__": self._import}
        self._is_local: dict[str, bool] = {}
        package = ModuleType(self.name)
        package.__path__ = [str(folder)]
        self._path = package.__path__
        sys.modules[self.name] = package
        sys.meta_path.insert(0, self)

    def load(self, module: str) -> ModuleType:
        importlib.invalidate_caches()
        return importlib.import_module(f"{self.name}.{module}")

    def unload(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in list(sys.modules):
            if name == self.name or name.startswith(f"{self.name}."):
                del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of this package (the protocol of `sys.meta_path`)."""
        if not fullname.startswith(f"{self.name}."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._scope)
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  the names that __import__ has
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0:
            top = name.partition(".")[0]
            if self._holds(top):
                name = f"{self.name}.{name}"
                if not fromlist:
                    importlib.import_module(name)
                    return sys.modules[f"{self.name}.{top}"]
            else:
                self.imported.add(top)
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _holds(self, top: str) -> bool:
        """Whether a top-level name means a module beside app.py."""
        if top not in self._is_local:
            spec = self.find_spec(f"{self.name}.{top}", self._path)
            if spec is not None and spec.loader is None:
                # A mere folder is a package only if nothing else has its name: `sessions/` may
                # hold files and still leave an installed `sessions` alone.
                found = top in sys.modules or importlib.util.find_spec(top) is not None
                self._is_local[top] = not found
            else:
                self._is_local[top] = spec is not None
        return self._is_local[top]
