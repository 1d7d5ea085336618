"""The columns of a file of prompts, by whatever name people and other tools write them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from ..errors import RedilateError
from ..generation.names import own_name

COLUMNS = ("prompt", "id", "seed", "negative", "width", "height", "steps", "guidance", "strength")

# What holds for the whole run here, and what it is called.
_OF_THE_RUN = {
    "sampler": "--scheduler",
    "sampler_name": "--scheduler",
    "scheduler": "--scheduler",
    "model": "--model",
    "checkpoint": "--model",
    "method": "--method",
}


def columns_of(names: Iterable[str], place: str) -> dict[str, str]:
    """Each name as it is written → the column that it stands for, one of COLUMNS.

    Raises:
        RedilateError: a name that means nothing here, two for one column, or none for the prompt; `place` is called so.
    """
    written = list(names)
    if not any(own_name(name) == "prompt" for name in written):
        raise RedilateError(f"{place} has no column 'prompt'; its columns are {', '.join(written) or 'none'}")
    found: dict[str, str] = {}  # column → as it is written
    for name in written:
        column = own_name(name)
        if column not in COLUMNS:
            raise RedilateError(f"{place}: {_unknown(name, column)}")
        if column in found:
            raise RedilateError(
                f"{place}: the columns {found[column]!r} and {name!r} both are {column}; leave one out"
            )
        found[column] = name
    return {name: column for column, name in found.items()}


def _unknown(name: str, column: str) -> str:
    if option := _OF_THE_RUN.get(column):
        return f"column {name!r}: it is one for all rows, given as {option}; leave the column out"
    if column in ("size", "resolution"):
        return f"column {name!r}: a row's size is two columns, width and height"
    near = get_close_matches(column, COLUMNS, n=1)
    meant = f", where {near[0]!r} would" if near else ""
    return f"column {name!r} means nothing here{meant}; leave it out. Known are {', '.join(COLUMNS)}"
