"""docs/compatibility.md out of the tests that prove it.

A test marked `compatibility(section, what, how)` proves a row. `pytest --write-compatibility` writes the table from
the rows of a complete run of this folder that passed; without it, a row that is missing or outdated fails the run's
`test_table.py`, and so does one that no test proves any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
ROWS = pytest.StashKey[dict[str, tuple[str, str, str]]]()
PASSED = pytest.StashKey[dict[str, bool]]()

_INTRODUCTION = """# What works

Each row is a test (`tests/compatibility/`), run on stock diffusers classes of random weights, in which the pipeline's
own loop runs untouched. `pytest tests/compatibility --write-compatibility` wrote this file from a run that passed.

Supported are diffusers 0.37 to 0.42. `make versions` runs all tests of the project on the lowest and the highest of
them, each in an environment of its own. Below 0.42 there are no single files. (Image-to-image pipelines of diffusers
0.36 do not import beside transformers 5, nor anything of it beside today's torchao.)

Last written with {versions}.
"""
_LIBRARIES = ("diffusers", "torch", "transformers", "accelerate", "peft", "torchao", "bitsandbytes")
_SECTIONS = {
    "pipelines": (
        "Pipelines",
        "Re-dilated at 1.5 times the native width with ND-CFG: the first prediction (and each ControlNet's residuals) "
        "equals that of networks whose convolutions have other `dilation` attributes; the number of evaluations, the "
        "output's size, the neutral plan's identity and removal are checked.",
        ("what", "pipeline"),
    ),
    "schedulers": (
        "Schedulers",
        "All that diffusers marks compatible with Stable Diffusion and SDXL, and five more. Re-dilation and ND-CFG "
        "follow the noise level, so two-evaluation and ancestral ones need nothing of their own.",
        ("scheduler", "run on"),
    ),
    "uses": ("Together with", "", ("what", "how")),
    "sizes": ("Sizes", "", ("what", "how")),
    "refused": (
        "Refused, by name",
        "With a `RedilateError` that says which module and what to do; before anything is touched, or in the next "
        "call if it arrives after `apply`.",
        ("what", "how"),
    ),
}


def rows_of(items: Iterable[pytest.Item]) -> dict[str, tuple[str, str, str]]:
    """Test id → (section, what, how)."""
    marked = ((item.nodeid, item.get_closest_marker("compatibility")) for item in items)
    return {name: mark.args for name, mark in marked if mark is not None}


def render(rows: Iterable[tuple[str, str, str]]) -> str:
    """The whole document."""
    proved = list(dict.fromkeys(rows))
    versions = ", ".join(f"{library} {version(library)}" for library in _LIBRARIES)
    parts = [_INTRODUCTION.format(versions=versions)]
    for section, (title, introduction, heads) in _SECTIONS.items():
        lines = [f"## {title}"]
        lines += [introduction, ""] if introduction else []
        lines += [f"| {heads[0]} | {heads[1]} |", "|---|---|"]
        lines += [f"| {what} | {how} |" for of, what, how in proved if of == section]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def row_line(row: tuple[str, str, str]) -> str:
    """A row as it stands in the document."""
    return f"| {row[1]} | {row[2]} |"


def is_complete(config: pytest.Config, items: Iterable[pytest.Item]) -> bool:
    """Whether every test file of this folder was collected, and nothing was selected out of them."""
    files = {item.path.name for item in items if item.path.parent == Path(__file__).parent}
    narrowed = (
        config.option.keyword or config.option.markexpr or any("::" in argument for argument in config.args)
    )
    return not narrowed and files == {path.name for path in Path(__file__).parent.glob("test_*.py")}
