"""What the README says about the configuration is what the definitions say."""

from __future__ import annotations

from asgi_agentrt._config import reference_markdown
from asgi_agentrt._server._answers import STATUS
from tests.support.process import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_is_the_one_that_the_definitions_give() -> None:
    _, _, rest = README.partition("<!-- reference: agentrt's own definitions -->\n")
    reference, _, _ = rest.partition("\n<!-- end of reference -->")
    assert reference.strip() == reference_markdown().strip()


def test_every_error_code_is_explained() -> None:
    assert [code for code in STATUS if f"`{code}`" not in README] == []


def test_the_two_commands_come_first() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("## What it is")
