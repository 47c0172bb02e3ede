"""The base of the configuration's dataclasses, and the one reader that fills all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar, get_type_hints

from ._from_mapping import tree_from_mapping
from ._kinds import Kind, nearest
from ._rules import Rule
from ._tree import (
    BAD,
    Bad,
    Broken,
    Leaf,
    Place,
    Report,
    StoppedReadingError,
    Table,
    Tree,
    environment_names,
)

S = TypeVar("S", bound="Section")

_MISSING: Final = dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a section: its kind, and the default of the dataclass field it is."""

    kind: Kind
    factory: Callable[[], Any] | None

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.factory is None

    def default(self) -> Any:
        """Return the default; None when it has none."""
        return self.factory() if self.factory is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of agentapp.yaml.

    The annotation of a field is its definition: `Annotated[type, kind]`. Whoever makes one in
    code has it checked like a file, by the same reader; `${VAR}` is filled in for files and
    mappings only.

    Raises:
        ConfigError: values are not what the fields want; holds every fault.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()

    # Names of the fields that came from the environment, which are not printed.
    _from_env: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)

    def __post_init__(self) -> None:
        report = Report(type(self).__name__)
        at = Place(report)
        values: dict[str, Any] = {}
        try:
            given = {key: getattr(self, key) for key in fields_of(type(self))}
            values = read_fields(type(self), tree_from_mapping(given, at, None), at)
        except StoppedReadingError:
            pass
        if report.problems:
            raise report.error()
        for key, value in values.items():
            object.__setattr__(self, key, value)

    def __repr__(self) -> str:
        parts = ", ".join(f"{key}={self._shown(key)}" for key in fields_of(type(self)))
        return f"{type(self).__name__}({parts})"

    def _shown(self, key: str) -> str:
        value = getattr(self, key)
        if key in self._from_env or fields_of(type(self))[key].kind.hides(value):
            return "<hidden>"
        return repr(_plain(value))

    # A mapping proxy is neither pickled nor copied by the standard library.
    def __reduce__(self) -> tuple[Any, ...]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _rebuilt, (type(self), {key: _plain(value) for key, value in values.items()})


def _plain(value: Any) -> object:
    if not isinstance(value, Mapping):
        return value
    items: list[tuple[Any, Any]] = [*value.items()]  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType] - only repeated
    return dict(items)


def _rebuilt(section: type[S], values: dict[str, Any]) -> S:
    return section(**values)


def fields_of(section: type[Section]) -> Mapping[str, Field]:
    """Return the keys of a section, in the order of their definition."""
    hashable: Any = section  # mypy takes the hash of its instances for the hash of the class
    return _fields_of(hashable)


@cache
def _fields_of(section: type[Section]) -> Mapping[str, Field]:
    hints = get_type_hints(section, include_extras=True)
    fields: dict[str, Field] = {}
    for field in dataclasses.fields(section):
        for kind in getattr(hints[field.name], "__metadata__", ()):
            fields[field.name] = Field(kind, _factory(field))
    return MappingProxyType(fields)


def _factory(field: dataclasses.Field[Any]) -> Callable[[], Any] | None:
    if field.default_factory is not _MISSING:
        return field.default_factory
    return None if field.default is _MISSING else lambda: field.default


def read_section(section: type[S], tree: Tree, at: Place) -> S | Bad:
    """Return the section that a tree holds; nothing stands for a section of defaults."""
    if isinstance(tree, Broken):
        return BAD
    if isinstance(tree, Leaf) and isinstance(tree.value, section):
        return tree.value
    if isinstance(tree, Leaf) and tree.is_null:
        tree = Table({})
    if not isinstance(tree, Table):
        what = "a list" if not isinstance(tree, Leaf) else "a single value"
        return at.fail(f"expected a mapping (lines of key: value), got {what}")
    before = len(at.report.problems)
    values = read_fields(section, tree, at)
    if len(at.report.problems) > before or BAD in values.values():
        return BAD
    from_env = {
        key
        for key, entry in tree.entries.items()
        if not fields_of(section)[key].kind.has_sections and environment_names(entry.tree)
    }
    return section(**values, _from_env=frozenset(from_env))


def read_fields(section: type[Section], table: Table, at: Place) -> dict[str, Any]:
    """Return a value for every key of the section: what is given, the default, or `BAD`."""
    fields = fields_of(section)
    values: dict[str, Any] = {}
    for key, entry in table.entries.items():
        place = at.key(key, entry.line)
        if key in fields:
            values[key] = _read_field(fields[key], entry.tree, place)
        else:
            known = f"known here: {', '.join(fields)}"
            place.fail(f"unknown key; {nearest(key, fields) or known}")
    for key, field in fields.items():
        if key not in values:
            values[key] = BAD if field.is_required else field.default()
            if field.is_required:
                at.key(key, at.line).fail("is required")
    for rule in section.rules:
        if (fault := rule.fault(values)) is not None:
            given = table.entries.get(fault.key)
            line = at.line if given is None else given.line
            at.key(fault.key, line).fail(fault.reason)
    return values


def _read_field(field: Field, tree: Tree, at: Place) -> Any:
    if isinstance(tree, Broken):
        return BAD
    if isinstance(tree, Leaf) and tree.is_null:
        return at.fail("is required") if field.is_required else field.default()
    value = field.kind.read(tree, dataclasses.replace(at, secret=at.secret or field.kind.secret))
    # Only a kind that takes empty text for "none given" returns it.
    return field.default() if value == "" else value
