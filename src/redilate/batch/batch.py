"""A batch, from a file of prompts to a folder of pictures: only missing pictures are drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RedilateError
from ..rivals.registry import OWN, find
from .local import OnStep, Outcome
from .store import Index, Store
from .tables import read_rows
from .tasks import Defaults, Fault, Task, check_defaults, tasks_of, together

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("redilate.batch")

OnFault = Callable[[Fault], None]
# A picture and its settings (JSON data) → the bytes of a file with both.
Encode = Callable[["Image", Mapping[str, Any]], bytes]


@dataclass
class Tally:
    """Counts of a batch's rows and pictures."""

    rows: int = 0  # read so far
    repeated: int = 0  # pictures that an earlier row has too
    present: int = 0  # pictures that existed before
    missing: int = 0  # pictures that did not
    drawn: int = 0  # missing pictures that exist now
    failed: int = 0  # pictures that cannot be drawn, or whose drawing failed


@dataclass(frozen=True)
class Drawn:
    """A picture's file as bytes, and the seconds that drawing took."""

    picture: bytes
    seconds: float


def missing_tasks(
    prompts: Path, defaults: Defaults, store: Store, tally: Tally, on_fault: OnFault
) -> Generator[Task]:
    """The tasks whose pictures `store` lacks, in the file's order, each once; updates `tally`.

    One row at a time is in memory. RedilateError for defaults that no row could have, and for an unreadable file.
    """
    check_defaults(defaults)
    row = None
    with closing(Index()) as seen:
        for task in tasks_of(read_rows(prompts), defaults):
            tally.rows += task.row != row
            row = task.row
            fault = task if isinstance(task, Fault) else None
            if isinstance(task, Task):
                try:
                    if _is_repeated(task, seen):
                        tally.repeated += 1
                    elif store.has(task):
                        tally.present += 1
                    else:
                        tally.missing += 1
                        yield task
                except RedilateError as error:
                    fault = Fault(task.row, str(error), task.id)
            if fault is not None:
                tally.failed += 1
                on_fault(fault)


def _is_repeated(task: Task, seen: Index) -> bool:
    """Whether an earlier row has the same picture; RedilateError if one has the id for another picture."""
    key = task.id.casefold()  # Apple.png and apple.png are one file on some systems
    told = seen.get(key)
    if told is None:
        seen.put(key, f"{task.digest} {task.row} {task.id}")
        return False
    digest, row, name = told.split(" ", 2)
    if (digest, name) != (task.digest, task.id):
        raise RedilateError(f"id {task.id!r}: row {row} has it ({name!r}) for another picture")
    return True


def survey(prompts: Path, defaults: Defaults, store: Store, on_fault: OnFault) -> Tally:
    """The counts of a run without the drawing; `store` need not be a writing one.

    RedilateError as for `missing_tasks`, and for a file without a valid row.
    """
    tally = Tally()
    faults: list[Fault] = []  # the first one

    def note(fault: Fault) -> None:
        faults[:] = faults or [fault]
        on_fault(fault)

    for _ in missing_tasks(prompts, defaults, store, tally, note):
        pass
    if tally.rows == 0:
        raise RedilateError(f"{str(prompts)!r} has no prompts")
    if tally.present + tally.missing == 0:
        raise RedilateError(
            f"none of the {tally.rows} rows of {str(prompts)!r} can be drawn; row {faults[0].row}: {faults[0].cause}"
        )
    return tally


def draw_missing(
    prompts: Path,
    defaults: Defaults,
    store: Store,
    run: Callable[[Iterable[tuple[Task, ...]]], Generator[Outcome[tuple[Task, ...], list[Drawn]]]],
    most: int = 1,
    on_done: Callable[[Tally], None] = lambda _: None,
    on_fault: OnFault = lambda _: None,
) -> Tally:
    """Draw what `store`, a writing one, lacks, and store each picture as soon as it is finished.

    RedilateError as for `missing_tasks` and `run`; finished pictures stay.

    Args:
        run: `local.run` or `ray.run_on_ray` with all its arguments but the tasks, and with `draw` as its work.
        most: how many pictures of one row are drawn together; 1 on a CPU.
        on_done: called after each picture and each failure.
        on_fault: called for each row without a picture.
    """
    tally = Tally()

    def failed(fault: Fault) -> None:
        store.fail(fault)
        on_fault(fault)

    tasks = missing_tasks(prompts, defaults, store, tally, failed)
    outcomes = run(together(tasks, most))
    with closing(tasks), closing(outcomes):
        for outcome in outcomes:
            if outcome.result is not None:
                for task, drawn in zip(outcome.task, outcome.result, strict=True):
                    store.keep(task, drawn.picture, drawn.seconds)
                    tally.drawn += 1
            else:
                for task in outcome.task:
                    tally.failed += 1
                    failed(Fault(task.row, outcome.cause or "no cause is known", task.id))
            on_done(tally)
    return tally


def draw(
    pipe: Any,
    tasks: Sequence[Task],
    on_step: OnStep | None = None,
    *,
    method: str,
    model: str,
    encode: Encode,
    addons: Mapping[str, Any] | None = None,
) -> list[Drawn]:
    """A worker's function: draw one task, or several of one row as grouped by `together`, by a method's name.

    The bytes depend only on the task, the method and the pipeline; those of pictures drawn together on a GPU are equal
    within rounding, on a CPU exactly. The settings have the names of `model` and `addons` (an autoencoder, LoRAs), and
    an entry `task` (id and digest), by which a `Store` recognises a picture without a record.
    """
    drawer, first = find(method), tasks[0]
    names = ("width", "height", "steps", "guidance", "negative", "strength")
    asked = {"on_step": on_step, **{name: getattr(first, name) for name in names}}
    if first.strength is None:
        del asked["strength"]
    made: list[tuple[Image, Mapping[str, Any], float]] = []  # picture, settings, seconds
    if method in OWN:
        finished: list[tuple[Image, Mapping[str, Any]]] = []
        asked |= {"on_picture": lambda *picture: finished.append(picture), "on_note": log.warning}
        seconds = drawer(pipe, first.prompt, seed=first.seed, count=len(tasks), **asked).seconds
        made = [(*picture, seconds / len(tasks)) for picture in finished]
    else:
        for task in tasks:
            one = drawer(pipe, task.prompt, seed=task.seed, **asked)
            made.append((one.images[0], one.settings, one.seconds))
    drawn = []
    for task, (image, settings, seconds) in zip(tasks, made, strict=True):
        own = {"model": model, **(addons or {}), "task": {"id": task.id, "digest": task.digest}}
        drawn.append(Drawn(encode(image, {**settings, **own}), seconds))
    return drawn
