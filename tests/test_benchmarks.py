"""The benchmarks start as their own docstrings and the documentation say, and have the options named there."""

from __future__ import annotations

import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
COMMAND = re.compile(r"python -m benchmarks\.(\w+)((?:[^`\n\\]|\\\n)*)")


@cache
def named() -> list[tuple[str, str, str]]:
    """(file, benchmark, options) of every command line in the documentation and the benchmarks' docstrings."""
    files = [*ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.py"), ROOT / "README.md"]
    return [
        (path.name, *found) for path in files for found in COMMAND.findall(path.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_starts_and_has_the_options_that_are_written_of_it(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ending:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    shown = capsys.readouterr().out
    assert not ending.value.code and "--help" in shown
    for file, benchmark, options in named():
        if benchmark == name:
            for option in re.findall(r"(?<!\S)--[\w-]+", options.split("#")[0]):
                assert re.search(rf"{option}(?![\w-])", shown), f"{file}: {name} has no {option}"
