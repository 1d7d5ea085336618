"""Plots: for each size every measure with its intervals, and quality against time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..atomic import replacing
from .extra import needed
from .measures import Measure
from .report import groups_of
from .summary import NATIVE, Row

_COLUMNS = 4
_WIDTH, _LINE = 3.4, 0.28  # inches of a panel's width and of a method's height in it
_ARROWS = {"less": "  ↓", "more": "  ↑", "native": "  → native", "real": "  → real"}
# Plotted against the seconds; the last one without real pictures.
_CURVES = ("feature_distance", "broken_up", "kid_crop_r", "kid_crop_b")


def write_plots(out: Path, rows: Sequence[Row]) -> dict[str, tuple[Path, Path]]:
    """Write `out`/plot-SIZE.png and `out`/curve-SIZE.png for each size, and return size → both."""
    paths = {}
    for size, of_size in groupby(rows, key=lambda row: row.size):
        ours = list(of_size)
        paths[size] = out / f"plot-{size}.png", out / f"curve-{size}.png"
        measures = [one for _, group in groups_of(ours) for one in group]
        _write_measures(paths[size][0], size.replace("x", "×"), ours, measures)
        _write_curves(paths[size][1], f"{size.replace('x', '×')}, against the time", ours, measures)
    return paths


def _write_curves(path: Path, title: str, rows: Sequence[Row], measures: Sequence[Measure]) -> None:
    by_key = {one.key: one for one in measures}
    shown = [by_key[key] for key in _CURVES if key in by_key][:3]
    figure = _figure((len(shown) * 1.5 + 0.5) * _WIDTH, 1.2 * _WIDTH, title)
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, measure in zip(panels, shown, strict=True):
        for place, row in enumerate(one for one in rows if one.method != NATIVE):
            seconds, (value, low, high) = row.values["seconds"].value, _scaled(row, measure)
            colour, marker = f"C{place % 10}", "os^Dv"[place // 10 % 5]
            panel.plot([seconds] * 2, [low, high], color=colour)
            panel.plot([seconds], [value], marker, color=colour, markersize=5, label=row.method)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.xaxis.set_minor_locator(needed("matplotlib.ticker").LogLocator(subs=(2, 5)))
        panel.set_xlabel("seconds per picture  ←", fontsize=8)
        _finish(panel, measure, "both")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    _save(figure, path)


def _write_measures(path: Path, title: str, rows: Sequence[Row], measures: Sequence[Measure]) -> None:
    lines = -(-len(measures) // _COLUMNS)
    figure = _figure(_COLUMNS * _WIDTH, lines * (0.7 + _LINE * len(rows)) + 0.5, title)
    panels = figure.subplots(lines, _COLUMNS, squeeze=False, sharey=True).ravel()
    for panel, measure in zip(panels, measures, strict=False):
        for place, row in enumerate(rows):
            if measure.key in row.values:
                value, low, high = _scaled(row, measure)
                colour = "dimgrey" if row.method == NATIVE else f"C{place % 10}"
                panel.plot([low, high], [place, place], color=colour, linewidth=2)
                panel.plot([value], [place], "o", color=colour, markersize=5)
        panel.set_yticks(range(len(rows)), [row.method for row in rows])
        panel.set_ylim(len(rows) - 0.5, -0.5)
        _finish(panel, measure, "x")
    for panel in panels[len(measures) :]:
        panel.set_axis_off()
    _save(figure, path)


def _figure(width: float, height: float, title: str) -> Any:
    # Not pyplot, which has global state.
    figure = needed("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure


def _finish(panel: Any, measure: Measure, grid_along: str) -> None:
    percent = ", %" if measure.form.endswith("%") else ""
    panel.set_title(measure.title + percent + _ARROWS[measure.better], fontsize=9)
    panel.tick_params(labelsize=8, which="both")
    panel.grid(axis=grid_along, linewidth=0.4)


def _scaled(row: Row, measure: Measure) -> tuple[float, float, float]:
    """A value and its interval, shares in percent."""
    times, found = 100 if measure.form.endswith("%") else 1, row.values[measure.key]
    return times * found.value, times * found.low, times * found.high


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
