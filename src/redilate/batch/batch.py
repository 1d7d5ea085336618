"""A batch from a file of prompts to a folder of pictures: what is missing is drawn, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import RedilateError
from .draw import Drawn
from .engine import Outcome
from .store import Index, Store
from .tables import read_rows
from .tasks import Defaults, Fault, Task, check_defaults, tasks_of, together


@dataclass
class Tally:
    """What a batch has come to: how many rows, and how many pictures."""

    rows: int = 0  # read so far
    repeated: int = 0  # that an earlier row asks for too; one serves both
    present: int = 0  # that were there already
    missing: int = 0  # that were not
    drawn: int = 0  # of the missing ones, those that are there now
    failed: int = 0  # that there are not, because of the row or because the drawing failed


OnFault = Callable[[Fault], None]


def missing_tasks(
    prompts: Path, defaults: Defaults, store: Store, tally: Tally, on_fault: OnFault
) -> Generator[Task]:
    """The tasks whose pictures `store` lacks, in the file's order, each once; `tally` counts along.

    Reads as it goes: however long the file, a row at a time is in memory.

    Raises:
        RedilateError: for defaults that no row could have, and for a file that cannot be read.
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


def survey(prompts: Path, defaults: Defaults, store: Store, on_fault: OnFault) -> Tally:
    """What a run would do: everything but the drawing. `store` need not be one that writes.

    Raises:
        RedilateError: as for `missing_tasks`, and for a file without a row that can be drawn.
    """
    tally = Tally()
    first: list[Fault] = []

    def note(fault: Fault) -> None:
        first[:] = first or [fault]
        on_fault(fault)

    for _ in missing_tasks(prompts, defaults, store, tally, note):
        pass
    if tally.rows == 0:
        raise RedilateError(f"{str(prompts)!r} has no prompts")
    if tally.present + tally.missing == 0:
        raise RedilateError(
            f"none of the {tally.rows} rows of {str(prompts)!r} can be drawn; row {first[0].row}: {first[0].cause}"
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
    """Draw what `store` lacks and keep each picture as soon as it is there.

    Args:
        prompts, defaults: what to draw.
        store: entered, and one that writes.
        run: `local.run` or `ray.run` with all its arguments but the tasks, and with `draw.draw` as its work.
        most: how many pictures of one row are drawn together; 1 on a CPU, which is busy with one.
        on_done: called after each picture and each failure.
        on_fault: called for each row of which there will be no picture in this run.

    Raises:
        RedilateError: as for `missing_tasks` and `run`; what is drawn by then is kept.
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


def _is_repeated(task: Task, seen: Index) -> bool:
    """Whether an earlier row asks for the same picture; RedilateError where it has the id for another one."""
    key = task.id.casefold()  # some file systems take Apple.png and apple.png for one
    told = seen.get(key)
    if told is None:
        seen.put(key, f"{task.digest} {task.row} {task.id}")
        return False
    digest, row, name = told.split(" ", 2)
    if (digest, name) != (task.digest, task.id):
        raise RedilateError(f"id {task.id!r}: row {row} has it ({name!r}) for another picture")
    return True
