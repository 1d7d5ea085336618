"""Contact sheets: for each prompt the native picture and every method's large one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from ..atomic import replacing
from .measures import Measurement
from .summary import NATIVE
from .tasks import Task

CELL = 160  # pixels of a picture's height on the sheet
ROWS = 16  # prompts in a column of the sheet
_LABEL = 20  # pixels of height for the line of text above a picture
_GAP = 8
_MARGIN = 24  # between the strips
_FONT_SIZE = 13


class SheetRow(NamedTuple):
    """One prompt's caption, and the path and note of each picture."""

    caption: str
    pictures: Sequence[Path]
    notes: Sequence[str]


def write_sheets(out: Path, cases: Sequence[Sequence[Task]], measurements: Sequence[Measurement]) -> None:
    """Write `out`/sheet-SIZE.png for each size of a study."""
    for size in dict.fromkeys(task.size for task in cases[0][1:]):
        columns, rows = sheet_of(size, cases, measurements)
        write_sheet(out / f"sheet-{size}.png", columns, rows)


def sheet_of(
    size: str, cases: Sequence[Sequence[Task]], measurements: Sequence[Measurement]
) -> tuple[list[str], list[SheetRow]]:
    """The headings and rows of one size's sheet."""
    measured = {(one.seed, one.method): one.values for one in measurements if one.size == size}
    columns: list[str] = []
    rows = []
    for case in cases:
        tasks = [task for task in case if task.method == NATIVE or task.size == size]
        columns = [task.method for task in tasks]
        notes = []
        for task in tasks:
            values = measured[task.request.seed, task.method]
            objects = int(values["objects"])
            notes.append(f"{objects} object" + "s" * (objects != 1))
            if task.method != NATIVE:
                notes[-1] += f", {values['feature_distance']:.2f}"
        rows.append(SheetRow(case[0].request.prompt, [task.path for task in tasks], notes))
    return columns, rows


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
