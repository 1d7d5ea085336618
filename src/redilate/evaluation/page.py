"""Everything on one HTML page that needs no other file and no network: tables, plots and the pictures side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from ..atomic import write_text
from .extra import needed
from .measures import Measure, Measurement
from .report import LEGEND, baseline, groups_of, real_note, shown, stated
from .sheets import sheet_of
from .statistics import Interval
from .summary import Row
from .tasks import Task

PROMPTS = 64  # whose pictures are on the page: more would make it too heavy to open
SIDE = 224  # pixels of a picture's height on the page
_TEMPLATE = Path(__file__).with_name("page.html.jinja")


def write_page(
    path: Path,
    settings: Mapping[str, Any],
    rows: Sequence[Row],
    cases: Sequence[Sequence[Task]],
    measurements: Sequence[Measurement],
    plots: Mapping[str, tuple[Path, Path]],
) -> None:
    """Write the page, whole or not at all: of the first PROMPTS prompts the pictures, of all the figures."""
    jinja = needed("jinja2")
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    sizes = []
    for size, of_size in groupby(rows, key=lambda row: row.size):
        columns, lines = sheet_of(size, cases[:PROMPTS], measurements)
        sizes.append(
            {
                "size": size.replace("x", "×"),
                "tables": _tables(list(of_size)),
                "note": real_note(settings, size),
                "plot": _data_uri(plots[size][0].read_bytes(), "png"),
                "curve": _data_uri(plots[size][1].read_bytes(), "png"),
                "columns": columns,
                "lines": [
                    {
                        "caption": line.caption,
                        "cells": [
                            {"image": _thumbnail(picture), "note": note}
                            for picture, note in zip(line.pictures, line.notes, strict=True)
                        ],
                    }
                    for line in lines
                ],
            }
        )
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        stated=stated(settings),
        legend=[_emphasised(text.format(baseline=baseline(rows))) for text in LEGEND],
        sizes=sizes,
        shown=min(PROMPTS, len(cases)),
        count=len(cases),
    )
    write_text(path, text)


def _tables(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "titles": [one.title for one in measures],
            "lines": [{"method": row.method, "cells": [_cell(row, one) for one in measures]} for row in rows],
        }
        for name, measures in groups_of(rows)
    ]


def _cell(row: Row, measure: Measure) -> dict[str, str]:
    value, difference = row.values.get(measure.key), row.differences.get(measure.key)
    return {
        "value": "–" if value is None else shown(value, measure.form),
        "difference": "" if difference is None else shown(difference, measure.form, "+"),
        "verdict": _verdict(difference, measure),
    }


def _verdict(difference: Interval | None, measure: Measure) -> str:
    """`better` or `worse` than the baseline where the interval says so."""
    if difference is None or measure.better not in ("less", "more") or difference.low <= 0 <= difference.high:
        return ""
    return "better" if (difference.value > 0) == (measure.better == "more") else "worse"


def _emphasised(text: str) -> list[tuple[str, bool]]:
    """Markdown's *words* as (text, whether emphasised): the template escapes each."""
    return [(part, bool(index % 2)) for index, part in enumerate(text.split("*"))]


def _thumbnail(path: Path) -> dict[str, Any]:
    with Image.open(path) as image:
        size = (max(1, round(SIDE * image.width / image.height)), SIDE)
        shrunk = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    written = io.BytesIO()
    shrunk.save(written, format="WEBP", quality=80)
    return {"source": _data_uri(written.getvalue(), "webp"), "width": size[0], "height": size[1]}


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
