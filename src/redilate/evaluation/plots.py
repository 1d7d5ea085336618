"""The tables as pictures: for each size every measure with its intervals, and the quality against the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_PERCENT = 100


# Against the seconds: structure, repetition, and detail against real pictures or else native ones.
_CURVES = ("feature_distance", "broken_up", "kid_crop_r", "kid_crop_b")


def write_plots(out: Path, rows: Sequence[Row]) -> dict[str, tuple[Path, Path]]:
    """Write `out`/plot-SIZE.png and `out`/curve-SIZE.png for each size, and return size → both."""
    paths = {}
    for size, of_size in groupby(rows, key=lambda row: row.size):
        ours = list(of_size)
        paths[size] = out / f"plot-{size}.png", out / f"curve-{size}.png"
        _write_measures(paths[size][0], size, ours)
        _write_curves(paths[size][1], size, ours)
    return paths


def _write_curves(path: Path, size: str, rows: Sequence[Row]) -> None:
    measures = {one.key: one for _, group in groups_of(rows) for one in group}
    shown = [measures[key] for key in _CURVES if key in measures][:3]
    figure = _figure(
        (len(shown) * 1.5 + 0.5) * _WIDTH, 1.2 * _WIDTH, f"{size.replace('x', '×')}, against the time"
    )
    panels = figure.subplots(1, len(shown), squeeze=False)[0]
    for panel, measure in zip(panels, shown, strict=True):
        for place, row in enumerate(one for one in rows if one.method != NATIVE):
            seconds, value = row.values["seconds"], row.values[measure.key]
            times = _times(measure)
            colour, marker = f"C{place % 10}", "os^Dv"[place // 10 % 5]
            panel.plot([seconds.value] * 2, [times * value.low, times * value.high], color=colour)
            panel.plot(
                [seconds.value], [times * value.value], marker, color=colour, markersize=5, label=row.method
            )
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.xaxis.set_minor_locator(needed("matplotlib.ticker").LogLocator(subs=(2, 5)))
        panel.set_xlabel("seconds per picture  ←", fontsize=8)
        panel.set_title(_title(measure), fontsize=9)
        panel.tick_params(labelsize=8, which="both")
        panel.grid(linewidth=0.4)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    _save(figure, path)


def _write_measures(path: Path, size: str, rows: Sequence[Row]) -> None:
    measures = [one for _, group in groups_of(rows) for one in group]
    lines = -(-len(measures) // _COLUMNS)
    height = lines * (0.7 + _LINE * len(rows)) + 0.5
    figure = _figure(_COLUMNS * _WIDTH, height, size.replace("x", "×"))
    panels = figure.subplots(lines, _COLUMNS, squeeze=False, sharey=True).ravel()
    for panel, measure in zip(panels, measures, strict=False):
        _panel(panel, measure, rows)
    for panel in panels[len(measures) :]:
        panel.set_axis_off()
    _save(figure, path)


def _figure(width: float, height: float, title: str) -> Any:
    # The object-oriented interface, which leaves a caller's pyplot and back-end alone.
    figure = needed("matplotlib.figure").Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title)
    return figure


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _times(measure: Measure) -> int:
    return _PERCENT if measure.form.endswith("%") else 1


def _title(measure: Measure) -> str:
    return measure.title + (", %" if _times(measure) == _PERCENT else "") + _ARROWS[measure.better]


def _panel(panel, measure: Measure, rows: Sequence[Row]) -> None:
    times = _times(measure)
    for place, row in enumerate(rows):
        value = row.values.get(measure.key)
        if value is None:
            continue
        colour = "dimgrey" if row.method == NATIVE else f"C{place % 10}"
        panel.plot([times * value.low, times * value.high], [place, place], color=colour, linewidth=2)
        panel.plot([times * value.value], [place], "o", color=colour, markersize=5)
    panel.set_yticks(range(len(rows)), [row.method for row in rows])
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_title(_title(measure), fontsize=9)
    panel.tick_params(labelsize=8)
    panel.grid(axis="x", linewidth=0.4)


_ARROWS: Mapping[str, str] = {"less": "  ↓", "more": "  ↑", "native": "  → native", "real": "  → real"}
