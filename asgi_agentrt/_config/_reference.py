"""The reference of agentapp.yaml for the README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from ._containers import Part, Slots
from ._definitions import RuntimeConfig
from ._schema import plain_default, summary
from ._section import Field, Section, fields_of

_HEAD: Final = ("| key | value | default | meaning |", "|---|---|---|---|")


def reference_markdown() -> str:
    """Return a heading and a table for the file and each section, with every key of it."""
    kinds = ((key, field.kind) for key, field in fields_of(RuntimeConfig).items())
    sections = [(key, kind) for key, kind in kinds if isinstance(kind, (Part, Slots))]
    lines = [*_table("agentapp.yaml", RuntimeConfig)]
    for key, kind in sections:
        name = f"{key}.{kind.names.placeholder}" if isinstance(kind, Slots) else key
        lines += _table(name, kind.section)
    return "\n".join(lines)


def _table(title: str, section: type[Section]) -> Iterator[str]:
    yield from (f"### `{title}`", "", summary(section), "", *_HEAD)
    for key, field in fields_of(section).items():
        cells = (f"`{key}`", field.kind.label(), _default(field), field.kind.doc)
        yield f"| {' | '.join(cells)} |"
    yield ""


def _default(field: Field) -> str:
    if field.is_required:
        return "required"
    default = plain_default(field)
    return "" if default == "" or isinstance(default, Section) else f"`{json.dumps(default)}`"
