"""The documentation names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import redilate

DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_has_every_public_name_once_and_no_other():
    named = re.findall(r"^::: redilate\.(\w+)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.M)
    assert sorted(named) == sorted(redilate.__all__)
