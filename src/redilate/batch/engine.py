"""Shared by `local` and `ray`: the types of work and outcome, and one attempt at a task."""

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
# Device → pipeline; None leaves the choice to the loader.
MakePipe = Callable[[str | None], Any]
# One task's work with a pipeline.
Work = Callable[[Any, T, OnStep | None], R]

# How many processes may die with one task, or in a row while loading.
ATTEMPTS = 3


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """A task's result, or the cause of its failure."""

    task: T
    result: R | None  # what `work` returned
    cause: str | None  # why there is no result
    worker: int | None  # process number; None if that process died


def attempt(work: Work[T, R], pipe: Any, task: T, on_step: OnStep | None) -> Outcome[T, R]:
    """One task's outcome, in this process."""
    try:
        return Outcome(task, work(pipe, task, on_step), None, os.getpid())
    except RedilateError as error:
        cause = str(error)
    except Exception as error:
        # After torch's AcceleratorError CUDA is unusable in this process.
        if type(error).__name__ == "AcceleratorError":
            raise
        cause = f"{type(error).__name__}: {error}"
    return Outcome(task, None, " ".join(cause.split()), os.getpid())


def load(make_pipe: MakePipe, device: str | None) -> tuple[Any, str | None]:
    """The pipeline and None, or None and the reason why there is none."""
    try:
        return make_pipe(device), None
    except RedilateError as error:
        return None, str(error)
    except Exception as error:
        return None, f"a worker could not load the model: {type(error).__name__}: {error}"


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """A context with so many torch threads; None leaves them."""
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
