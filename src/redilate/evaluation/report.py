"""The results of a study as a file for machines and a table for people."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from .measures import Measurement, Row
from .statistics import Interval

_HEADER = (
    "| method | objects, native | objects, large | repeated | against {baseline} | same count "
    "| feature distance | against {baseline} | s per picture |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
)
_LEGEND = (
    "Each large picture is compared with the native picture of the same prompt and seed. *Objects*: mean number of "
    "separate objects on the ground. *Repeated*: share of pictures with more objects than the native one. *Same "
    "count*: share with as many. *Feature distance*: between the native picture and the large one shrunk, in "
    "EfficientNet-Lite0's deep layers; 0 is identical. Brackets: 95 % bootstrap intervals over prompts; differences "
    "are paired by prompt."
)


def write_json(
    path: Path, settings: dict[str, Any], rows: Sequence[Row], measurements: Sequence[Measurement]
) -> None:
    """Write the settings, the rows and every single measurement, whole or not at all."""
    content = {
        "settings": settings,
        "summary": [asdict(row) for row in rows],
        "pictures": [asdict(one) for one in measurements],
    }
    _write(path, json.dumps(content, indent=1) + "\n")


def write_table(path: Path, settings: dict[str, Any], rows: Sequence[Row]) -> None:
    """Write Markdown: what was run, then one table for each size, whole or not at all."""
    parts = ["# Large pictures against native ones", _settings(settings), _LEGEND]
    for size, of_size in groupby(rows, key=lambda row: row.size):
        parts += [f"## {size.replace('x', '×')}", table(list(of_size))]
    _write(path, "\n\n".join(parts) + "\n")


def table(rows: Sequence[Row]) -> str:
    """The rows of one size as a Markdown table; the first row is the baseline."""
    return "\n".join([_HEADER.format(baseline=rows[0].method), *map(_line, rows)])


def _line(row: Row) -> str:
    cells = [
        row.method,
        f"{row.objects_native:.2f}",
        f"{row.objects_large:.2f}",
        _share(row.repeated),
        _share(row.repeated_difference, "+"),
        f"{row.same_count:.0%}",
        _number(row.feature_distance),
        _number(row.feature_difference, "+"),
        f"{row.seconds:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _share(value: Interval | None, sign: str = "") -> str:
    if value is None:
        return "–"
    return f"{value.mean:{sign}.0%} [{value.low:{sign}.0%}, {value.high:{sign}.0%}]"


def _number(value: Interval | None, sign: str = "") -> str:
    if value is None:
        return "–"
    return f"{value.mean:{sign}.3f} [{value.low:{sign}.3f}, {value.high:{sign}.3f}]"


def _settings(settings: dict[str, Any]) -> str:
    return "; ".join(
        f"{name} {value}" for name, value in settings.items() if isinstance(value, str | int | float)
    )


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
