"""Reading files of prompts row by row: text, CSV, JSON Lines, Parquet, also with other tools' column names."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import RedilateError
from ..generation.setting_names import own_name

# Rows of a Parquet file decoded at a time.
_PARQUET_ROWS = 1024


@dataclass(frozen=True)
class Row:
    """One row of a file."""

    number: int  # line (text, CSV, JSON Lines) or row (Parquet), from 1
    fields: Mapping[str, Any] | None  # column, one of `COLUMNS` → value; None if the row cannot be read
    fault: str | None = None  # why it cannot be read


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of `path` in order, by its extension.

    `.txt`: a prompt on each line, without empty lines and those that start with #. `.csv`, `.tsv`: a header with a
    column `prompt`; separated by commas, semicolons or tabs. `.jsonl`: an object on each line. `.parquet`: a column
    `prompt`; needs pyarrow.
    RedilateError for a missing file, another extension, no column `prompt`, an unknown column, or what is not UTF-8
    text, CSV or Parquet.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise RedilateError(
            f"prompts {str(path)!r}: extension {path.suffix!r} is unknown; one of {', '.join(_READERS)} works"
        )
    if not path.is_file():
        raise RedilateError(f"there is no file of prompts at {str(path)!r}")
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise RedilateError(f"{str(path)!r} is not UTF-8 text: {error}") from error


def _text(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if not line.startswith("#"):
            yield Row(number, {"prompt": line})


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield Row(number, None, f"not JSON: {error}")
            continue
        if not isinstance(fields, dict):
            yield Row(number, None, f"{type(fields).__name__} where an object was expected")
        elif fields.keys() <= set(COLUMNS):  # also without a prompt, which is a fault of this row only
            yield Row(number, fields)
        else:
            columns = _columns_of(fields, f"{str(path)!r} line {number}")
            yield Row(number, dict(zip(columns, fields.values(), strict=True)))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The stripped lines that are not empty, with their numbers."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if stripped := line.strip():
                yield number, stripped


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        separator, header = _header(head)
        # A spreadsheet may write a separator after the last name.
        while header and not header[-1].strip():
            header.pop()
        columns = _columns_of(header, repr(str(path)))
        # Strict, or an unclosed quote would make the rest of the file one prompt.
        reader = csv.reader(chain([head], file), delimiter=separator, strict=True)
        ended = 0
        try:
            for values in reader:
                # The row's first line: a quoted prompt may have several.
                first, ended = ended + 1, reader.line_num
                if first == 1 or not values:
                    continue
                if any(value.strip() for value in values[len(columns) :]):
                    cause = "more fields than the header has; quote a prompt with commas"
                    yield Row(first, None, cause)
                else:
                    yield Row(first, dict(zip(columns, values, strict=False)))
        except csv.Error as error:
            raise RedilateError(
                f"{str(path)!r} line {ended + 1} is not CSV ({error}): a prompt in quotes ends with one before the "
                "next separator, and has a quote inside it twice"
            ) from error


def _header(head: str) -> tuple[str, list[str]]:
    """The separator and the column names as written."""
    for separator in ",;\t|":
        names = next(csv.reader([head], delimiter=separator), [])
        if any(own_name(name) == "prompt" for name in names):
            return separator, names
    return ",", next(csv.reader([head]), [])


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise RedilateError("Parquet needs pyarrow: pip install 'redilate[batch]', or use .jsonl") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns_of(file.schema_arrow.names, repr(str(path)))
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(number, dict(zip(columns, fields.values(), strict=True)))
    except (ArrowException, OSError) as error:
        place = f"cannot be read after row {number}" if number else "is not Parquet that can be read"
        raise RedilateError(f"{str(path)!r} {place}: {error}") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".txt": _text,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


COLUMNS = ("prompt", "id", "seed", "negative", "width", "height", "steps", "guidance", "strength", "count")

# Other tools' names of `count`.
_COUNTS = ("n", "num_images", "num_images_per_prompt", "images_per_prompt", "batch_size")

# Columns of other tools → the option for the whole run.
_OF_THE_RUN = {
    "sampler": "--scheduler",
    "sampler_name": "--scheduler",
    "scheduler": "--scheduler",
    "model": "--model",
    "checkpoint": "--model",
    "method": "--method",
}


def _columns_of(names: Iterable[str], place: str) -> list[str]:
    """Each name's column, one of COLUMNS; RedilateError, with `place`, if one has none or "prompt" is missing."""
    written = list(names)
    if not any(own_name(name) == "prompt" for name in written):
        raise RedilateError(f"{place} has no column 'prompt'; its columns are {', '.join(written) or 'none'}")
    found: dict[str, str] = {}  # column → as it is written
    for name in written:
        column = own_name(name)
        column = "count" if column in _COUNTS else column
        if column not in COLUMNS:
            raise RedilateError(f"{place}: {_unknown(name, column)}")
        if column in found:
            raise RedilateError(
                f"{place}: the columns {found[column]!r} and {name!r} both are {column}; leave one out"
            )
        found[column] = name
    return list(found)


def _unknown(name: str, column: str) -> str:
    if option := _OF_THE_RUN.get(column):
        return f"column {name!r}: it is one for all rows, given as {option}; leave the column out"
    if column in ("size", "resolution"):
        return f"column {name!r}: a row's size is two columns, width and height"
    near = get_close_matches(column, COLUMNS, n=1)
    meant = f", where {near[0]!r} would" if near else ""
    return f"column {name!r} means nothing here{meant}; leave it out. Known are {', '.join(COLUMNS)}"
