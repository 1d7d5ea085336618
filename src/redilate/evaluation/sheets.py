"""Contact sheets: the native picture and every method's large one side by side, prompt by prompt."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ..atomic import replacing
from .measures import Measurement
from .summary import NATIVE
from .tasks import Task

CELL = 160  # pixels of a picture's height on the sheet
ROWS = 16  # prompts below one another before the sheet goes on to the right
_LABEL = 20  # pixels of height for the line of text above a picture
_GAP = 8
_MARGIN = 24  # between the strips


@dataclass(frozen=True)
class SheetRow:
    """The pictures of one prompt: a caption, and for each column a picture's path and the note below it."""

    caption: str
    pictures: tuple[Path, ...]
    notes: tuple[str, ...]


def write_sheets(out: Path, cases: Sequence[Sequence[Task]], measurements: Sequence[Measurement]) -> None:
    """Write `out`/sheet-SIZE.png for each size of a study."""
    for size in dict.fromkeys(task.size for task in cases[0][1:]):
        columns, rows = sheet_of(size, cases, measurements)
        write_sheet(out / f"sheet-{size}.png", columns, rows)


def sheet_of(
    size: str, cases: Sequence[Sequence[Task]], measurements: Sequence[Measurement]
) -> tuple[list[str], list[SheetRow]]:
    """The headings and the rows that compare the native picture and every method at one size."""
    measured = {(one.seed, one.method): one.values for one in measurements if one.size == size}
    rows = []
    for reference, *larges in cases:
        seed = reference.request.seed
        shown = [reference, *(task for task in larges if task.size == size)]
        notes = [_objects(int(measured[seed, NATIVE]["objects"]))]
        for task in shown[1:]:
            values = measured[seed, task.method]
            notes.append(f"{_objects(int(values['objects']))}, {values['feature_distance']:.2f}")
        rows.append(SheetRow(reference.request.prompt, tuple(task.path for task in shown), tuple(notes)))
    columns = [NATIVE, *(task.method for task in cases[0][1:] if task.size == size)]
    return columns, rows


def write_sheet(path: Path, columns: Sequence[str], rows: Sequence[SheetRow]) -> None:
    """Write a PNG with `columns` as headings, every picture CELL high at its own ratio, whole or not at all.

    All pictures of one column have one ratio. RAM holds the sheet and one picture at a time.
    """
    widths = [_cell_width(picture) for picture in rows[0].pictures]
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
                with Image.open(picture) as image:
                    shrunk = image.convert("RGB").resize((width, CELL), Image.Resampling.LANCZOS)
                sheet.paste(shrunk, (edge, top + _LABEL))
                _text(draw, (edge, top + _LABEL + CELL), note, width)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _objects(count: int) -> str:
    return f"{count} object" + "s" * (count != 1)


def _cell_width(path: Path) -> int:
    with Image.open(path) as image:
        return max(1, round(CELL * image.width / image.height))


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, *, bold: bool = False
) -> None:
    """Write one line, cut to `width` pixels; bold by a thin outline, since Pillow ships one face only."""
    font = _font()
    if draw.textlength(text, font=font) > width:
        too_long = bisect_left(
            range(len(text)), True, key=lambda kept: draw.textlength(text[:kept] + "…", font=font) > width
        )
        text = text[: max(0, too_long - 1)] + "…"
    draw.text(place, text, fill=(30, 30, 30), font=font, stroke_width=0.4 if bold else 0)


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)
