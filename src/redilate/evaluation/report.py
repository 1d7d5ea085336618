"""A study's results as JSON, as Markdown tables, and as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..atomic import write_text
from .figures import sheet_of, thumbnail
from .inputs import needed
from .measures import Measure, Measurement
from .statistics import Interval
from .summary import NATIVE, Row, by_size, groups_of
from .tasks import Task

PROMPTS = 64  # with pictures on the page, which would be too large with more
SIDE = 224  # pixels of a picture's height on the page
_TEMPLATE = Path(__file__).with_name("page.html.jinja")

LEGEND = (
    "Each large picture is compared with the native picture of the same prompt and seed; the row *native* is that "
    "picture enlarged. Brackets: 95 % bootstrap intervals over prompts; the second line of a cell is the difference "
    "to {baseline}, paired by prompt and seed.",
    "*Objects*: separate ones on the ground. *Repeated*, *same count*: share of pictures with more objects than the "
    "native one, with as many. *Parts*: regions of one colour. *Self-similarity*: share of the contours that a shift "
    "brings back onto the picture.",
    "*Feature distance*: to the native picture, in EfficientNet-Lite0's deep layers. *SSIM*: with the native picture. "
    "*Sharpness*: share of the highest octave in the variance; as real pictures have it is right. *Grid*: how far "
    "the frequencies of a dilation's lattice stand out. *Colour drift*: of the mean colour.",
    "*FID*, *KID*: Fréchet and kernel distance of EfficientNet-Lite0's features, to real pictures (r) and to the "
    "model's own native pictures (b), of whole pictures shrunk to the native size and of crops at full resolution. "
    "FID is too large with few pictures (its covariances are of 1280 features): compare it within a table only, and "
    "trust KID first.",
    "*s per picture*: the median, of wall time. *Peak memory*: torch's on CUDA, else the whole process's. *U-Net "
    "evaluations*: samples through the U-Net, whatever their size.",
)


def write_json(
    path: Path, settings: Mapping[str, Any], rows: Sequence[Row], measurements: Sequence[Measurement]
) -> None:
    """Write the settings, the rows and every measurement."""
    summary, pictures = [asdict(row) for row in rows], [asdict(one) for one in measurements]
    content = {"settings": settings, "summary": summary, "pictures": pictures}
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_table(path: Path, settings: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write Markdown: the settings, the legend, and the tables of each size."""
    parts = ["# Large pictures against native ones", _stated(settings), *_legend(rows)]
    for size, ours in by_size(rows).items():
        parts += [f"## {size.replace('x', '×')}", tables(ours), *_real_note(settings, size)]
    write_text(path, "\n\n".join(parts) + "\n")


def tables(rows: Sequence[Row]) -> str:
    """The rows of one size as Markdown tables, one for each group of measures."""
    parts = []
    for group, measures, lines in _cells(rows):
        titles = " | ".join(one.title for one in measures)
        parts.append(f"**{group}**\n\n| method | {titles} |\n|---|{'--:|' * len(measures)}")
        for method, cells in lines:
            shown = [f"{value}<br>{difference}" if difference else value for value, difference, _ in cells]
            parts[-1] += f"\n| {method} | {' | '.join(shown)} |"
    return "\n\n".join(parts)


def write_page(
    path: Path,
    settings: Mapping[str, Any],
    rows: Sequence[Row],
    cases: Sequence[Sequence[Task]],
    measurements: Sequence[Measurement],
    plots: Mapping[str, tuple[Path, Path]],
) -> None:
    """Write HTML, with pictures of the first PROMPTS prompts."""
    jinja = needed("jinja2")
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    sizes = []
    for size, ours in by_size(rows).items():
        columns, lines = sheet_of(size, cases[:PROMPTS], measurements)
        sizes.append(
            {
                "size": size.replace("x", "×"),
                "tables": _cells(ours),
                "notes": _real_note(settings, size),
                "plots": [_data_uri(plot.read_bytes(), "png") for plot in plots[size]],
                "columns": columns,
                "lines": [
                    (line.caption, [*zip(map(_embedded, line.pictures), line.notes, strict=True)])
                    for line in lines
                ],
            }
        )
    text = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        stated=_stated(settings),
        # Markdown's *words*: every second part is emphasised, and the template escapes each.
        legend=[text.split("*") for text in _legend(rows)],
        sizes=sizes,
        shown=min(PROMPTS, len(cases)),
        count=len(cases),
    )
    write_text(path, text)


Cell = tuple[str, str, str]


def _cells(rows: Sequence[Row]) -> list[tuple[str, list[Measure], list[tuple[str, list[Cell]]]]]:
    """For each group of measures its name, the measures, and each method's cells."""
    return [
        (name, measures, [(row.method, [_cell(row, one) for one in measures]) for row in rows])
        for name, measures in groups_of(rows)
    ]


def _cell(row: Row, measure: Measure) -> Cell:
    """A row's value, its difference to the baseline, and "better" or "worse" if the interval excludes 0."""
    value, difference = row.values.get(measure.key), row.differences.get(measure.key)
    first = "–" if value is None else _shown(value, measure.form)
    if difference is None:
        return first, "", ""
    verdict = ""
    if measure.better in ("less", "more") and not difference.low <= 0 <= difference.high:
        verdict = "better" if (difference.value > 0) == (measure.better == "more") else "worse"
    return first, _shown(difference, "+" + measure.form), verdict


def _shown(value: Interval, form: str) -> str:
    """`0.762 [0.716, 0.809]`."""
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"


def _legend(rows: Sequence[Row]) -> list[str]:
    baseline = next((row.method for row in rows if row.method != NATIVE), NATIVE)
    return [text.format(baseline=baseline) for text in LEGEND]


def _stated(settings: Mapping[str, Any]) -> str:
    """The scalar settings in one line."""
    return "; ".join(
        f"{name} {value}" for name, value in settings.items() if isinstance(value, str | int | float)
    )


def _real_note(settings: Mapping[str, Any], size: str) -> list[str]:
    """A note about the real pictures of a size, if there are any."""
    count = settings["real pictures"].get(size)
    if not count:
        return []
    sharp = settings["sharpness of real pictures, dB"][size]
    return [f"{count} real pictures; their mean sharpness is {sharp:.1f} dB."]


def _embedded(path: Path) -> dict[str, Any]:
    shrunk = thumbnail(path, SIDE)
    written = io.BytesIO()
    shrunk.save(written, format="WEBP", quality=80)
    return {"source": _data_uri(written.getvalue(), "webp"), "width": shrunk.width, "height": SIDE}


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
