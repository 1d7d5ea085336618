"""The results of a study as a file for machines and as tables for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from ..atomic import write_text
from .measures import GROUPS, Measure, Measurement
from .statistics import Interval
from .summary import NATIVE, Row

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
    """Write the settings, the rows and every single measurement, whole or not at all."""
    content = {
        "settings": settings,
        "summary": [asdict(row) for row in rows],
        "pictures": [asdict(one) for one in measurements],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_table(path: Path, settings: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write Markdown: what was run, the legend, then the tables of each size, whole or not at all."""
    parts = ["# Large pictures against native ones", stated(settings)]
    parts += [text.format(baseline=baseline(rows)) for text in LEGEND]
    for size, of_size in groupby(rows, key=lambda row: row.size):
        parts += [f"## {size.replace('x', '×')}", tables(list(of_size))]
        if note := real_note(settings, size):
            parts.append(note)
    write_text(path, "\n\n".join(parts) + "\n")


def tables(rows: Sequence[Row]) -> str:
    """The rows of one size as Markdown: one table for each group of measures that the rows have."""
    return "\n\n".join(
        "\n".join([_header(group, measures), *(_line(row, measures) for row in rows)])
        for group, measures in groups_of(rows)
    )


def groups_of(rows: Sequence[Row]) -> list[tuple[str, list[Measure]]]:
    """The groups of measures that `rows` have values for, and the measures in them."""
    there = {key for row in rows for key in row.values}
    found = [(name, [one for one in measures if one.key in there]) for name, measures in GROUPS.items()]
    return [(name, measures) for name, measures in found if measures]


def baseline(rows: Sequence[Row]) -> str:
    """The method that the others are compared with."""
    return next((row.method for row in rows if row.method != NATIVE), NATIVE)


def shown(value: Interval, form: str, sign: str = "") -> str:
    """`0.762 [0.716, 0.809]`, with `sign` "+" `-0.154 [-0.186, -0.123]` or `+0.010 […]`."""
    centre, low, high = (format(one, sign + form) for one in (value.value, value.low, value.high))
    return f"{centre} [{low}, {high}]"


def stated(settings: Mapping[str, Any]) -> str:
    """The settings that fit a line."""
    return "; ".join(
        f"{name} {value}" for name, value in settings.items() if isinstance(value, str | int | float)
    )


def real_note(settings: Mapping[str, Any], size: str) -> str | None:
    """What the real pictures of a size are; None where there are none."""
    count = settings.get("real pictures", {}).get(size)
    if not count:
        return None
    sharp = settings["sharpness of real pictures, dB"][size]
    return f"{count} real pictures; their mean sharpness is {sharp:.1f} dB."


def _header(group: str, measures: Sequence[Measure]) -> str:
    titles = " | ".join(one.title for one in measures)
    return f"**{group}**\n\n| method | {titles} |\n|---|{'--:|' * len(measures)}"


def _line(row: Row, measures: Sequence[Measure]) -> str:
    return f"| {row.method} | {' | '.join(_cell(row, one) for one in measures)} |"


def _cell(row: Row, measure: Measure) -> str:
    if measure.key not in row.values:
        return "–"
    cell = shown(row.values[measure.key], measure.form)
    if measure.key in row.differences:
        cell += "<br>" + shown(row.differences[measure.key], measure.form, "+")
    return cell
