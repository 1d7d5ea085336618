"""Tasks in, outcomes out, in this process or in others: taken one by one, failed one by one, stopped without a trace.

The engine knows nothing of pictures: here it adds numbers, which costs no second of loading a model.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from redilate import RedilateError
from redilate.batch.local import run
from tests.batch.arithmetic import (
    add,
    always_die_of_two,
    count_threads,
    die_once,
    divide,
    in_steps,
    make_dead,
    make_device,
    make_nothing,
    make_oom,
    make_ten,
    name_device,
)


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_are_the_same_in_this_process_and_in_others(workers: int):
    outcomes = list(run(range(5), make_ten, add, workers=workers))
    assert sorted((one.task, one.result) for one in outcomes) == [(k, 10 + k) for k in range(5)]
    assert {one.worker == os.getpid() for one in outcomes} == {workers == 0}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_is_its_tasks_outcome_and_ends_nothing(workers: int):
    outcomes = {one.task: one for one in run([5, 0, -1, 2], make_ten, divide, workers=workers)}
    assert (outcomes[5].result, outcomes[2].result) == (2.0, 5.0)
    assert outcomes[0].cause == "ZeroDivisionError: division by zero"
    assert outcomes[-1].cause == "-1 is below zero"


@pytest.mark.parametrize("workers", [0, 2])
def test_no_task_is_taken_before_a_worker_is_free_for_it(workers: int):
    taken = []

    def tasks() -> Iterator[int]:
        for task in range(10**9):
            taken.append(task)
            yield task

    outcomes = run(tasks(), make_ten, add, workers=workers)
    for _ in range(3):
        next(outcomes)
    outcomes.close()
    assert len(taken) <= 3 + workers


def test_no_process_is_started_where_there_is_nothing_to_do():
    # A worker that could not even load would say so.
    assert list(run([], make_nothing, add, workers=2)) == []


def test_a_dead_workers_task_is_done_by_another_and_nothing_else_again(tmp_path: Path):
    outcomes = list(run(range(5), make_ten, partial(die_once, notes=tmp_path), workers=2))
    assert sorted(one.result for one in outcomes if one.cause is None) == list(range(5))
    assert {task: (tmp_path / str(task)).stat().st_size for task in range(5)} == {
        0: 1,
        1: 1,
        2: 2,
        3: 1,
        4: 1,
    }


def test_a_task_over_which_every_worker_dies_is_given_up(tmp_path: Path):
    outcomes = {one.task: one for one in run(range(4), make_ten, always_die_of_two, workers=1)}
    assert outcomes[2].cause == "3 worker processes were killed by SIGKILL over it, one after another"
    assert [outcomes[task].result for task in (0, 1, 3)] == [0, 1, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_model_that_cannot_be_loaded_is_refused(workers: int):
    with pytest.raises(RedilateError, match="there is no model at all"):
        list(run([1], make_nothing, add, workers=workers))


def test_a_worker_that_cannot_load_says_why():
    with pytest.raises(RedilateError, match="could not load the model: MemoryError: no room"):
        list(run([1, 2], make_oom, add, workers=2))


def test_workers_that_die_while_they_load_end_the_run():
    with pytest.raises(
        RedilateError, match="3 worker processes in a row were killed by SIGKILL while they loaded"
    ):
        list(run([1], make_dead, add, workers=1))


def test_each_worker_has_the_next_device():
    outcomes = run(range(4), make_device, name_device, workers=2, devices=["cuda:0", "cuda:1"])
    assert {one.result for one in outcomes} == {"cuda:0", "cuda:1"}


@pytest.mark.parametrize("workers", [0, 1])
def test_steps_are_reported_with_their_task(workers: int):
    steps = []
    list(run([7], make_ten, in_steps, workers=workers, on_step=lambda *step: steps.append(step)))
    assert steps == [(7, 1, 3), (7, 2, 3), (7, 3, 3)]


@pytest.mark.parametrize("workers", [0, 1])
def test_threads_are_what_was_asked_for_and_this_process_keeps_its_own(workers: int):
    before = torch.get_num_threads()
    (outcome,) = run([1], make_ten, count_threads, workers=workers, threads=before + 2)
    assert (outcome.result, torch.get_num_threads()) == (before + 2, before)


def test_numbers_that_mean_nothing_are_refused():
    for arguments in ({"workers": -1}, {"threads": 0}):
        with pytest.raises(RedilateError, match="is needed"):
            list(run([1], make_ten, add, **arguments))
