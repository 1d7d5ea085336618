"""The tables as pictures: one plot for each size, every measure with its intervals."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from .extra import needed
from .measures import Measure
from .report import groups_of
from .summary import NATIVE, Row

_COLUMNS = 4
_WIDTH, _LINE = 3.4, 0.28  # inches of a panel's width and of a method's height in it
_PERCENT = 100


def write_plots(out: Path, rows: Sequence[Row]) -> dict[str, Path]:
    """Write `out`/plot-SIZE.png for each size, and return size → file."""
    paths = {}
    for size, of_size in groupby(rows, key=lambda row: row.size):
        paths[size] = out / f"plot-{size}.png"
        _write(paths[size], size, list(of_size))
    return paths


def _write(path: Path, size: str, rows: Sequence[Row]) -> None:
    # The object-oriented interface, which leaves a caller's pyplot and back-end alone.
    figures = needed("matplotlib.figure")
    measures = [one for _, group in groups_of(rows) for one in group]
    lines = -(-len(measures) // _COLUMNS)
    height = lines * (0.7 + _LINE * len(rows)) + 0.5
    figure = figures.Figure(figsize=(_COLUMNS * _WIDTH, height), layout="constrained")
    figure.suptitle(size.replace("x", "×"))
    panels = figure.subplots(lines, _COLUMNS, squeeze=False, sharey=True).ravel()
    for panel, measure in zip(panels, measures, strict=False):
        _panel(panel, measure, rows)
    for panel in panels[len(measures) :]:
        panel.set_axis_off()
    unfinished = path.with_suffix(".part")
    figure.savefig(unfinished, format="png", dpi=110)
    os.replace(unfinished, path)


def _panel(panel, measure: Measure, rows: Sequence[Row]) -> None:
    times = _PERCENT if measure.form.endswith("%") else 1
    for place, row in enumerate(rows):
        value = row.values.get(measure.key)
        if value is None:
            continue
        colour = "dimgrey" if row.method == NATIVE else f"C{place % 10}"
        panel.plot([times * value.low, times * value.high], [place, place], color=colour, linewidth=2)
        panel.plot([times * value.value], [place], "o", color=colour, markersize=5)
    panel.set_yticks(range(len(rows)), [row.method for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_title(
        measure.title + (", %" if times == _PERCENT else "") + _ARROWS[measure.better], fontsize=9
    )
    panel.tick_params(labelsize=8)
    panel.grid(axis="x", linewidth=0.4)


_ARROWS: Mapping[str, str] = {"less": "  ↓", "more": "  ↑", "native": "  → native", "real": "  → real"}
