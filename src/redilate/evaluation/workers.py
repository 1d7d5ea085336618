"""A study's pictures drawn by the batch's engine: in this process, or in several that each have a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusers import DiffusionPipeline

from ..batch.engine import MakePipe
from ..batch.local import run
from ..errors import RedilateError
from .pictures import find, make
from .tasks import Task

# Called with (the stage, what is at hand, how much of the stage is done, of how much).
OnProgress = Callable[[str, str, float, int], None]


@dataclass(frozen=True)
class Workers:
    """The processes that draw; what each argument is, `batch.local.run` says.

    On a CPU they slow one another, so that seconds per picture are comparable only without them, or with one.

    Attributes:
        make_pipe: gives each a pipeline with the weights of the study's.
        count: at least 1.
        threads, devices: torch's threads in each, and where their pipelines go in turn.
    """

    make_pipe: MakePipe
    count: int
    threads: int | None = None
    devices: Sequence[str | None] = (None,)


def draw(
    pipe: DiffusionPipeline, tasks: Sequence[Task], progress: OnProgress, workers: Workers | None = None
) -> None:
    """Make the pictures that are not there yet, all that can be made; RedilateError names what could not."""
    missing = [task for task in tasks if find(task.request, task.path) is None]
    if not missing:
        return
    ended, faults = 0, []
    under_way: dict[Path, float] = {}  # the share of each picture's steps that is done

    def say(task: Task) -> None:
        progress("drawing", f"{task.method} {task.size}", ended + sum(under_way.values()), len(missing))

    def on_step(task: Task, step: int, steps: int) -> None:
        under_way[task.path] = step / steps
        say(task)

    say(missing[0])
    pipe.set_progress_bar_config(disable=True)
    by = workers or Workers(lambda _: pipe, count=0)
    for outcome in run(
        missing,
        by.make_pipe,
        _make,
        workers=by.count,
        threads=by.threads,
        devices=by.devices,
        on_step=on_step,
    ):
        ended += 1
        under_way.pop(outcome.task.path, None)
        if outcome.cause is not None:
            faults.append(f"{outcome.task.path}: {outcome.cause}")
        say(outcome.task)
    if faults:
        raise RedilateError(
            f"{len(faults)} of {len(missing)} pictures could not be made; the first, {faults[0]}"
        )


def _make(pipe: DiffusionPipeline, task: Task, on_step: Callable[[int, int], None] | None) -> None:
    """A worker's part; the picture itself goes to its place on disk."""
    make(pipe, task.request, task.path, on_step)
