"""The same work on a Ray cluster of this machine: the same outcomes, also when an actor is killed."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray

from redilate import RedilateError
from redilate.apps.commands.batch import png
from redilate.batch.draw import draw
from redilate.batch.engine import run
from redilate.batch.ray import run_on_ray
from redilate.batch.tasks import Task
from tests.batch.arithmetic import always_die_of_two, die_once, divide, make_nothing, make_ten
from tests.batch.bundled import load_bundled

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster of two CPUs that all tests here share; a run takes the connection that there is."""
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()


def test_outcomes_are_those_of_this_process_and_a_dead_actors_task_is_done_by_another(tmp_path: Path):
    outcomes = list(run_on_ray(range(6), make_ten, partial(die_once, notes=tmp_path)))
    assert sorted(one.result for one in outcomes if one.cause is None) == list(range(6))
    # Nothing but the task that an actor died of was begun again.
    assert {task: (tmp_path / str(task)).stat().st_size for task in range(6)} == {
        k: 1 + (k == 2) for k in range(6)
    }


def test_exceptions_are_their_tasks_outcomes_and_a_task_that_kills_is_given_up():
    outcomes = {one.task: one for one in run_on_ray([5, 0, -1], make_ten, divide)}
    assert (outcomes[5].result, outcomes[0].result) == (2.0, None)
    assert outcomes[0].cause == "ZeroDivisionError: division by zero"
    assert outcomes[-1].cause == "-1 is below zero"
    outcomes = {one.task: one for one in run_on_ray(range(4), make_ten, always_die_of_two, attempts=2)}
    assert outcomes[2].cause == "2 actors died over it, one after another"
    assert [outcomes[task].result for task in (0, 1, 3)] == [0, 1, 3]


def test_what_cannot_be_is_refused():
    with pytest.raises(RedilateError, match="there is no model at all"):
        list(run_on_ray([1], make_nothing, divide))
    with pytest.raises(RedilateError, match="2 CPUs for 1 threads each: 3 workers are too many, 2 work"):
        list(run_on_ray([1], make_ten, divide, workers=3))
    assert list(run_on_ray([], make_nothing, divide)) == []


def test_pictures_are_bit_for_bit_those_of_this_process_with_an_actor_killed_on_the_way():
    tasks = [Task(f"apple{k}", k, "a red apple", k, 256, 256, 1, 3.0, None) for k in range(4)]
    work = partial(draw, method="direct", model="bundled", encode=png)
    here = {one.task: one.result for one in run(tasks, load_bundled, work, threads=1)}
    there = {}
    for outcome in run_on_ray(tasks, load_bundled, work, workers=2):
        assert outcome.result is not None and outcome.worker is not None, outcome.cause
        if not there:
            os.kill(outcome.worker, signal.SIGKILL)
        there[outcome.task] = outcome.result
    assert {task: one.picture for task, one in there.items()} == {
        task: one.picture for task, one in here.items() if one is not None
    }
