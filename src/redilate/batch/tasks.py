"""From rows of a file of prompts to tasks, one for each picture, with seeds that depend only on their ids."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ..errors import RedilateError
from ..generation.drawing import ANY_SEED, SEEDS, Guidance, SeedOrAny, Side, Steps, Strength, first_cause
from .tables import Row

Multiple = Annotated[Side, Field(multiple_of=8)]

_LONGEST_ID = 100
_MOST = 10_000  # pictures of one row
_ID_SIGNS = frozenset(string.ascii_letters + string.digits + "._-")
# Windows' reserved names, with any extension.
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{at}" for port in ("com", "lpt") for at in range(10))}


@dataclass(frozen=True)
class Defaults:
    """Defaults for all rows, as for `generation.generate`."""

    width: int
    height: int
    steps: int = 25
    guidance: float | None = None
    negative: str | None = None
    seed: int = 0  # of the run: with a row's id it gives the row's seed
    strength: float | None = None
    count: int = 1  # pictures of a row


@dataclass(frozen=True)
class Task:
    """One picture to draw, as for `generation.generate`."""

    id: str  # the name of the picture's file
    row: int  # in the file of prompts
    prompt: str
    seed: int
    width: int
    height: int
    steps: int
    guidance: float | None
    negative: str | None
    strength: float | None = None

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that change with everything that decides how the picture looks."""
        asked = (
            self.prompt, self.negative, self.seed, self.width, self.height, self.steps, self.guidance, self.strength
        )  # fmt: skip
        return _hash(json.dumps(asked), 16)


@dataclass(frozen=True)
class Fault:
    """Why a row has no picture; `id` if it has a valid one."""

    row: int
    cause: str
    id: str | None = None


def tasks_of(rows: Iterable[Row], defaults: Defaults) -> Iterator[Task | Fault]:
    """Each row's tasks, or its fault: `apple`, `apple-2`, `apple-3`, … with consecutive seeds.

    A row's first task does not depend on its count, so that a later run with more pictures draws only those.
    """
    for row in rows:
        if row.fields is None:
            yield Fault(row.number, row.fault or "cannot be read")
            continue
        try:
            columns = _Columns.model_validate(
                {name: value for name, value in row.fields.items() if not _is_empty(value)}
            )
        except ValidationError as error:
            yield Fault(row.number, first_cause(error))
            continue
        said = columns.model_dump(exclude={"id", "count"}, exclude_none=True)
        task_id, count = columns.id or _id_of(said), columns.count or defaults.count
        asked = {**vars(defaults), "seed": seed_of(defaults.seed, task_id), **said}
        del asked["count"]
        first = Task(id=task_id, row=row.number, **asked)
        if first.seed > SEEDS - count:
            cause = f"seed {first.seed}: up to {SEEDS - count} works for {count} pictures"
            yield Fault(row.number, cause, task_id)
            continue
        yield first
        for place in range(1, count):
            yield replace(first, id=f"{task_id}-{place + 1}", seed=first.seed + place)


def seed_of(run_seed: int, task_id: str) -> int:
    """The seed of a row without one: 32 bits (as other tools have) of BLAKE2b over the run's seed and the id."""
    return int(_hash(f"{run_seed}\n{task_id}", 4), 16)


def _checked_id(value: Any) -> Any:
    """An id that is a valid file name on every system; a number becomes text."""
    name = str(value) if type(value) is int else value
    if not isinstance(name, str):
        return name
    name = name.strip()
    if not 0 < len(name) <= _LONGEST_ID:
        raise ValueError(f"an id has 1 to {_LONGEST_ID} characters, and this one has {len(name)}")
    if wrong := sorted(set(name) - _ID_SIGNS):
        raise ValueError(
            f"an id is a file's name, so it has only the letters a to z and A to Z, digits, '.', '_' and '-'; "
            f"this one has {', '.join(map(repr, wrong))}"
        )
    if not name[0].isalnum() or name[-1] == ".":
        raise ValueError("an id starts with a letter or a digit, and does not end with '.'")
    if name.split(".")[0].lower() in _DEVICES:
        raise ValueError(f"Windows has a device of this name, so no file can; {'picture-' + name!r} works")
    return name


class _Columns(BaseModel):
    """A row's columns: `tables.COLUMNS`."""

    model_config = ConfigDict(str_strip_whitespace=True, frozen=True, extra="forbid")

    prompt: Annotated[str, Field(min_length=1)]
    id: Annotated[str | None, BeforeValidator(_checked_id)] = None
    seed: Annotated[SeedOrAny | None, AfterValidator(lambda seed: None if seed == ANY_SEED else seed)] = None
    negative: str | None = None
    width: Multiple | None = None
    height: Multiple | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    strength: Strength | None = None
    count: Annotated[int | None, Field(ge=1, le=_MOST)] = None

    @model_validator(mode="after")
    def _both_sides(self) -> _Columns:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together: give both or none")
        return self


def together(tasks: Iterable[Task], most: int) -> Iterator[tuple[Task, ...]]:
    """Groups of up to `most` neighbouring tasks of one row with consecutive seeds."""
    group: list[Task] = []
    for task in tasks:
        if group and task != replace(group[-1], id=task.id, seed=group[-1].seed + 1):
            yield tuple(group)
            group = []
        group.append(task)
        if len(group) == most:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _id_of(said: dict[str, Any]) -> str:
    """An id from the row's own columns, which does not depend on its place or the run."""
    slug = re.sub(r"[^a-z0-9]+", "-", said["prompt"].lower()).strip("-")[:40].strip("-")
    return "-".join(filter(None, (slug, _hash(json.dumps(said, sort_keys=True), 8))))


def _hash(text: str, size: int) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def _is_empty(value: Any) -> bool:
    """Whether a cell is empty: CSV has empty text, pandas NaN."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def check_defaults(defaults: Defaults) -> None:
    """RedilateError for invalid defaults, and for a random seed, with which a batch could not resume."""
    if defaults.seed == ANY_SEED:
        raise RedilateError(
            "seed -1 means any for a row; a batch needs a seed of its own, 0 for example, to go on by"
        )
    try:
        _Columns.model_validate({"prompt": "any", **vars(defaults)})
    except ValidationError as error:
        raise RedilateError(first_cause(error)) from error
