"""What every way of running tasks has in common: what is asked for, and what comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ..errors import RedilateError

T = TypeVar("T")
R = TypeVar("R")

# Called with (steps done, steps in all) of one task.
OnStep = Callable[[int, int], None]
# A pipeline for a device; None leaves the device to the loader.
MakePipe = Callable[[str | None], Any]
# What is done with a pipeline for one task.
Work = Callable[[Any, T, OnStep | None], R]

# How many processes may die over one task, or in a row while they make their pipeline.
ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """How a task ended.

    Attributes:
        task: the task.
        result: what `work` returned; None where there is a cause.
        cause: why there is no result; None where there is one.
        worker: the process that it ended in, by its number in the system; None where that process died.
    """

    task: T
    result: R | None
    cause: str | None
    worker: int | None


def run(
    tasks: Iterable[T],
    make_pipe: MakePipe,
    work: Work[T, R],
    *,
    workers: int = 0,
    threads: int | None = None,
    devices: Sequence[str | None] = (None,),
    on_step: Callable[[T, int, int], None] | None = None,
) -> Generator[Outcome[T, R]]:
    """Do `work` for each task, on this machine; outcomes come in the order in which they end.

    A task is taken from `tasks` when a worker is free for it, and never earlier, so that a generator of a million
    costs no memory; whoever takes the outcomes slowly slows the workers. An exception of `work` is its task's outcome;
    a process that dies is replaced, and its task is given to another. Closing the iterator (an exception in the
    `for` that takes the outcomes does) stops all workers; what they were at is lost.

    Args:
        tasks: anything that pickles.
        make_pipe: called once in each worker.
        work: called with (the pipeline, a task, a function to report its steps to, or None). What decides its result
            must be the task alone; then no number of workers changes a result.
        workers: processes, each with a pipeline of its own; 0: in this process. `make_pipe`, `work`, tasks and results
            must pickle (functions at a module's top level do) where there are any.
        threads: for torch in each worker. The last bit of a result can depend on it; None leaves it.
        devices: worker k makes its pipeline on devices[k % len(devices)].
        on_step: called with (task, steps done, steps in all), where `work` reports steps.

    Raises:
        RedilateError: for numbers that mean nothing, and where `make_pipe` fails.
    """
    for name, value, least in (("workers", workers, 0), ("threads", threads, 1)):
        if value is not None and value < least:
            raise RedilateError(f"{name} is {value}; at least {least} is needed")
    if workers == 0:
        return _run_here(tasks, make_pipe, work, threads, devices[0], on_step)
    from .local import run_processes

    return run_processes(tasks, make_pipe, work, workers, threads, devices, on_step)


def attempt(work: Work[T, R], pipe: Any, task: T, on_step: OnStep | None) -> Outcome[T, R]:
    """One task's outcome, in the process that this runs in."""
    try:
        return Outcome(task, work(pipe, task, on_step), None, os.getpid())
    except RedilateError as error:
        cause = str(error)
    except Exception as error:
        # After this one (of torch, and not imported for its name alone) CUDA does nothing more in this process.
        if type(error).__name__ == "AcceleratorError":
            raise
        cause = f"{type(error).__name__}: {error}"
    return Outcome(task, None, " ".join(cause.split()), os.getpid())


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch compute with so many threads for the time of the `with`; None leaves it alone."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_here(
    tasks: Iterable[T],
    make_pipe: MakePipe,
    work: Work[T, R],
    threads: int | None,
    device: str | None,
    on_step: Callable[[T, int, int], None] | None,
) -> Generator[Outcome[T, R]]:
    pipe = None
    with torch_threads(threads):
        for task in tasks:
            if pipe is None:
                pipe = make_pipe(device)
            report = None if on_step is None else partial(on_step, task)
            yield attempt(work, pipe, task, report)
