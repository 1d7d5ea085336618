"""A study's results in pictures, for each size: a contact sheet, every measure, and quality against time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from ..atomic import replacing
from .inputs import needed
from .measures import Measure, Measurement
from .summary import NATIVE, Row, by_size, groups_of
from .tasks import Task

# Of a sheet, in pixels: a picture's height, the line of text above it, and the spaces between pictures and strips.
CELL, _LABEL, _GAP, _MARGIN = 160, 20, 8, 24
ROWS = 16  # prompts in a strip
_FONT_SIZE = 13

_COLUMNS = 4  # panels in a line of a plot
_WIDTH, _LINE = 3.4, 0.28  # inches of a panel's width and of a method's height in it
_ARROWS = {"less": "  ↓", "more": "  ↑", "native": "  → native", "real": "  → real"}
# Plotted against the seconds; the last one without real pictures.
_CURVES = ("feature_distance", "broken_up", "kid_crop_r", "kid_crop_b")


class SheetRow(NamedTuple):
    """One prompt's caption, and the path and note of each picture."""

    caption: str
    pictures: Sequence[Path]
    notes: Sequence[str]


def write_sheets(out: Path, cases: Sequence[Sequence[Task]], measurements: Sequence[Measurement]) -> None:
    """Write `out`/sheet-SIZE.png for each size of a study."""
    for size in dict.fromkeys(task.size for task in cases[0][1:]):
        write_sheet(out / f"sheet-{size}.png", *sheet_of(size, cases, measurements))


def sheet_of(
    size: str, cases: Sequence[Sequence[Task]], measurements: Sequence[Measurement]
) -> tuple[list[str], list[SheetRow]]:
    """The headings and rows of one size's sheet: for each prompt the native picture and every method's large one."""
    measured = {(one.seed, one.method): one.values for one in measurements if one.size == size}
    shown = [[task for task in case if task.method == NATIVE or task.size == size] for case in cases]

    def note(task: Task) -> str:
        values = measured[task.request.seed, task.method]
        objects = int(values["objects"])
        counted = f"{objects} object" + "s" * (objects != 1)
        return counted if task.method == NATIVE else f"{counted}, {values['feature_distance']:.2f}"

    rows = [
        SheetRow(tasks[0].request.prompt, [task.path for task in tasks], [note(task) for task in tasks])
        for tasks in shown
    ]
    return [task.method for task in shown[0]], rows


def write_sheet(path: Path, columns: Sequence[str], rows: Sequence[SheetRow]) -> None:
    """Write a PNG with `columns` as headings and every picture CELL high.

    All pictures of one column have one ratio. The sheet and one picture at a time are in memory.
    """
    widths = [thumbnail(picture, CELL).width for picture in rows[0].pictures]
    strip_width = sum(widths) + _GAP * (len(widths) - 1)
    strips = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)]
    row_height = 2 * _LABEL + CELL + _GAP
    sheet = Image.new(
        "RGB",
        (len(strips) * (strip_width + _MARGIN) + _MARGIN, len(strips[0]) * row_height + _LABEL + _MARGIN),
        (236, 236, 236),
    )
    draw = ImageDraw.Draw(sheet)
    for number, strip in enumerate(strips):
        left = _MARGIN + number * (strip_width + _MARGIN)
        edges = [left + sum(widths[:column]) + _GAP * column for column in range(len(widths))]
        for edge, width, column in zip(edges, widths, columns, strict=True):
            _text(draw, (edge, _GAP), column, width, bold=True)
        for line, row in enumerate(strip):
            top = _GAP + _LABEL + line * row_height
            _text(draw, (left, top), row.caption, strip_width)
            for edge, width, picture, note in zip(edges, widths, row.pictures, row.notes, strict=True):
                sheet.paste(thumbnail(picture, CELL), (edge, top + _LABEL))
                _text(draw, (edge, top + _LABEL + CELL), note, width)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def thumbnail(path: Path, height: int) -> Image.Image:
    """The picture at `path` with that height in pixels."""
    with Image.open(path) as image:
        width = max(1, round(height * image.width / image.height))
        return image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, *, bold: bool = False
) -> None:
    """Write one line, cut to `width` pixels; bold by an outline, since Pillow has one font."""
    font = ImageFont.load_default(_FONT_SIZE)
    if draw.textlength(text, font=font) > width:
        too_long = bisect_left(
            range(len(text)), True, key=lambda kept: draw.textlength(text[:kept] + "…", font=font) > width
        )
        text = text[: max(0, too_long - 1)] + "…"
    draw.text(place, text, fill=(30, 30, 30), font=font, stroke_width=0.4 if bold else 0)


def write_plots(out: Path, rows: Sequence[Row]) -> dict[str, tuple[Path, Path]]:
    """Write `out`/plot-SIZE.png and `out`/curve-SIZE.png for each size, and return size → both."""
    paths = {}
    for size, ours in by_size(rows).items():
        paths[size] = out / f"plot-{size}.png", out / f"curve-{size}.png"
        measures = [one for _, group in groups_of(ours) for one in group]
        _write_measures(paths[size][0], size.replace("x", "×"), ours, measures)
        _write_curves(paths[size][1], f"{size.replace('x', '×')}, against the time", ours, measures)
    return paths


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
