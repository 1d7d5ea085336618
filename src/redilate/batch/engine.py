"""What every way of running tasks has in common: what is asked for, and what comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    """How a task ended: with a result or with a cause."""

    task: T
    result: R | None  # what `work` returned
    cause: str | None  # why there is no result
    worker: int | None  # the process that it ended in, by its number; None where that process died


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


def load(make_pipe: MakePipe, device: str | None) -> tuple[Any, str | None]:
    """The pipeline and None, or None and why there is none."""
    try:
        return make_pipe(device), None
    except RedilateError as error:
        return None, str(error)
    except Exception as error:
        return None, f"a worker could not load the model: {type(error).__name__}: {error}"


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
