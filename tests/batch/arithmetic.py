"""Pipelines and work for the engine that are no pictures: worker processes import this, and it imports next to nothing.

The engine asks nothing of a pipeline: a number is one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from redilate import RedilateError

TEN = 10


def make_ten(device: str | None) -> int:
    return TEN


def make_device(device: str | None) -> str | None:
    time.sleep(0.3)  # so that a second worker comes to its part
    return device


def make_nothing(device: str | None) -> int:
    raise RedilateError("there is no model at all")


def make_oom(device: str | None) -> int:
    raise MemoryError("no room")


def make_dead(device: str | None) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def add(pipe: int, task: int, on_step: object) -> int:
    return pipe + task


def divide(pipe: int, task: int, on_step: object) -> float:
    if task < 0:
        raise RedilateError(f"{task} is below zero")
    return pipe / task


def name_device(pipe: str, task: int, on_step: object) -> str:
    time.sleep(0.3)
    return pipe


def in_steps(pipe: int, task: int, on_step) -> int:
    for step in range(1, 4):
        on_step(step, 3)
    return task


def count_threads(pipe: int, task: int, on_step: object) -> int:
    return sys.modules["torch"].get_num_threads()


def die_once(pipe: int, task: int, on_step: object, *, notes: Path) -> int:
    """Task 2 takes its process with it, the first time."""
    with (notes / str(task)).open("a") as file:
        file.write("x")
    if task == 2 and (notes / "2").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def always_die_of_two(pipe: int, task: int, on_step: object) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def divide_or_die(pipe: int, task: int, on_step: object, *, notes: Path) -> float:
    """As `divide`; task 2 takes its process with it the first time, and task 7 always."""
    with (notes / str(task)).open("a") as file:
        file.write("x")
    if task == 7 or (task == 2 and (notes / "2").stat().st_size == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return divide(pipe, task, on_step)
