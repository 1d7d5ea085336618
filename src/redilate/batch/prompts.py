"""Files of prompts, read row by row: text, CSV, JSON Lines and Parquet; none is ever in memory as a whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RedilateError

# A Parquet file is decoded this many rows at a time.
_PARQUET_ROWS = 1024


@dataclass(frozen=True)
class Row:
    """What a file says at one place.

    Attributes:
        number: line (text, CSV, JSON Lines) or row (Parquet), from 1.
        fields: column → value; None where the place cannot be read.
        fault: why it cannot be read; None where it can.
    """

    number: int
    fields: Mapping[str, Any] | None
    fault: str | None = None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of `path` in their order, by its extension.

    `.txt`: a prompt on each line; empty lines and those that start with # are left out. `.csv`: a header with a column
    `prompt`. `.jsonl`: an object on each line. `.parquet`: a column `prompt`; needs pyarrow.

    Raises:
        RedilateError: when called, for a file that is not there or has another extension or no column `prompt`; while
            rows are read, where it is no longer UTF-8 text or Parquet.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise RedilateError(
            f"prompts {str(path)!r}: extension {path.suffix!r} is unknown; one of {', '.join(_READERS)} works"
        )
    if not path.is_file():
        raise RedilateError(f"there is no file of prompts at {str(path)!r}")
    return reader(path)


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
        if isinstance(fields, dict):
            yield Row(number, fields)
        else:
            yield Row(number, None, f"{type(fields).__name__} where an object was expected")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers, without spaces around them."""
    with path.open(encoding="utf-8-sig") as file, _utf8_only(path):
        for number, line in enumerate(file, 1):
            if stripped := line.strip():
                yield number, stripped


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file, _utf8_only(path):
        header = next(csv.reader(file), [])
    _check_columns(path, header)
    return _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file, _utf8_only(path):
        reader = csv.DictReader(file)
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(reader.line_num, None, f"not CSV: {error}")
                continue
            if None in fields:  # where DictReader puts what has no header
                yield Row(
                    reader.line_num, None, "more fields than the header has; quote a prompt with commas"
                )
            else:
                yield Row(reader.line_num, fields)


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise RedilateError("Parquet needs pyarrow: pip install 'redilate[batch]', or use .jsonl") from error
    try:
        names = parquet.read_schema(path).names
    except (ArrowException, OSError) as error:
        raise RedilateError(f"{str(path)!r} is not Parquet that can be read: {error}") from error
    _check_columns(path, names)
    return _parquet_rows(path)


def _parquet_rows(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowException, parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for fields in batch.to_pylist():
                    number += 1
                    yield Row(number, fields)
    except (ArrowException, OSError) as error:
        raise RedilateError(f"{str(path)!r} cannot be read after row {number}: {error}") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    if "prompt" not in columns:
        found = ", ".join(columns) or "none"
        raise RedilateError(f"{str(path)!r} has no column 'prompt'; its columns are {found}")


@contextmanager
def _utf8_only(path: Path) -> Iterator[None]:
    """For the time of the `with`, other text than UTF-8 is refused."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise RedilateError(f"{str(path)!r} is not UTF-8 text: {error}") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".txt": _text,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
