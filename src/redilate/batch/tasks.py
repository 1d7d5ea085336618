"""One row of a file of prompts → one picture to make, with a seed that only its id decides."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..errors import RedilateError
from .prompts import Row

Side = Annotated[int, Field(ge=8, multiple_of=8)]


@dataclass(frozen=True)
class Defaults:
    """What holds for each row that does not say otherwise.

    Attributes:
        width, height: in pixels.
        steps, guidance, negative: as for `generation.generate`.
        seed: of the whole run: with each row's id it gives the row's seed.
    """

    width: int
    height: int
    steps: int = 25
    guidance: float = 5.0
    negative: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """One picture to make.

    Attributes:
        id: names the picture's file.
        row: where in the file of prompts it stands.
        prompt, seed, width, height, steps, guidance, negative: as for `generation.generate`.
    """

    id: str
    row: int
    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: float
    negative: str | None

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that change with anything that decides how the picture looks; not with the id."""
        asked = (self.prompt, self.negative, self.seed, self.width, self.height, self.steps, self.guidance)
        return _hash(json.dumps(asked), 16)


@dataclass(frozen=True)
class Fault:
    """A row of which no picture is made, and why; `id` where it has one that can be read."""

    row: int
    cause: str
    id: str | None = None


def tasks_of(
    rows: Iterable[Row], defaults: Defaults, ignored: set[str] | None = None
) -> Iterator[Task | Fault]:
    """A task for each row, or what is wrong with the row. `ignored` collects the columns that mean nothing here."""
    for row in rows:
        if row.fields is None:
            yield Fault(row.number, row.fault or "cannot be read")
            continue
        said = {name: value for name, value in row.fields.items() if not _is_empty(value)}
        if ignored is not None:
            ignored.update(said.keys() - _Columns.model_fields.keys())
        try:
            columns = _Columns.model_validate(said)
        except ValidationError as error:
            yield Fault(row.number, _first_cause(error))
            continue
        yield _task(row.number, columns, defaults)


def seed_of(run_seed: int, task_id: str) -> int:
    """The seed of a task without one of its own: 32 bits of BLAKE2b over the run's seed and the id.

    The same for any order, number of workers, machine and version; 32 bits, as every other tool takes them too.
    """
    return int(_hash(f"{run_seed}\n{task_id}", 4), 16)


class _Columns(BaseModel):
    """The columns that a row can have."""

    model_config = ConfigDict(str_strip_whitespace=True, frozen=True, allow_inf_nan=False)

    prompt: Annotated[str, Field(min_length=1)]
    # Such names are files on every system; those that a table gives as numbers are taken as they are written.
    id: Annotated[
        str | None,
        BeforeValidator(lambda value: str(value) if type(value) is int else value),
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"),
    ] = None
    seed: Annotated[int | None, Field(ge=0, lt=2**63)] = None
    negative: str | None = None
    width: Side | None = None
    height: Side | None = None
    steps: Annotated[int | None, Field(ge=1)] = None
    guidance: Annotated[float | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def _both_sides(self) -> _Columns:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together: give both or none")
        return self


def _task(number: int, columns: _Columns, defaults: Defaults) -> Task:
    task_id = columns.id or _id_of(columns)

    def either(given: Any, default: Any) -> Any:
        return default if given is None else given

    return Task(
        id=task_id,
        row=number,
        prompt=columns.prompt,
        seed=either(columns.seed, seed_of(defaults.seed, task_id)),
        width=either(columns.width, defaults.width),
        height=either(columns.height, defaults.height),
        steps=either(columns.steps, defaults.steps),
        guidance=either(columns.guidance, defaults.guidance),
        negative=either(columns.negative, defaults.negative),
    )


def _id_of(columns: _Columns) -> str:
    """An id from what the row itself says, so that rows can move, and other runs' pictures have the same names."""
    said = columns.model_dump(exclude={"id"}, exclude_none=True)
    slug = re.sub(r"[^a-z0-9]+", "-", columns.prompt.lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, (slug, _hash(json.dumps(said, sort_keys=True), 8))))


def _hash(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _is_empty(value: Any) -> bool:
    """Whether a table's cell says nothing: CSV has empty text there, and pandas NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _first_cause(error: ValidationError) -> str:
    """The first thing wrong, with its column and its value: `width 250: Input should be a multiple of 8`."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "missing":
        return "it has no prompt"
    if not first["loc"]:
        return str(first.get("ctx", {}).get("error", first["msg"]))
    return f"{first['loc'][0]} {first['input']!r}: {first['msg']}"


def check_defaults(defaults: Defaults) -> None:
    """Refuse defaults that no row could have; RedilateError names the first.

    The same rules as for a row, so that a library user's mistake shows before any work.
    """
    said = {
        name: getattr(defaults, name) for name in ("width", "height", "steps", "guidance", "negative", "seed")
    }
    try:
        _Columns.model_validate({"prompt": "any", **said})
    except ValidationError as error:
        raise RedilateError(_first_cause(error)) from error
