"""The same work on a Ray cluster of this machine: the same outcomes, also when an actor is killed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import ray

from redilate import RedilateError
from redilate.apps.commands.batch import png
from redilate.batch.batch import draw
from redilate.batch.local import run
from redilate.batch.ray import run_on_ray
from redilate.batch.tasks import Task
from tests.batch.arithmetic import divide, divide_or_die, make_nothing, make_ten
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


def test_exceptions_are_their_tasks_outcomes_and_what_kills_actors_again_and_again_is_given_up(
    tmp_path: Path,
):
    """In one run, since actors are slow to start: task 2 takes its actor with it once, 7 always."""
    tasks = [5, 0, -1, 2, 7]
    work = partial(divide_or_die, notes=tmp_path)
    outcomes = {one.task: one for one in run_on_ray(tasks, make_ten, work)}
    assert (outcomes[5].result, outcomes[2].result) == (2.0, 5.0)
    assert [outcomes[task].cause for task in (0, -1, 7)] == [
        "ZeroDivisionError: division by zero",
        "-1 is below zero",
        "3 actors died over it, one after another",
    ]
    # Nothing but the tasks that an actor died of was begun again.
    assert [(tmp_path / str(task)).stat().st_size for task in tasks] == [1, 1, 1, 2, 3]


def test_what_cannot_be_is_refused():
    with pytest.raises(RedilateError, match="there is no model at all"):
        list(run_on_ray([1], make_nothing, divide))
    with pytest.raises(RedilateError, match="2 CPUs for 1 threads each: 3 workers are too many, 2 work"):
        list(run_on_ray([1], make_ten, divide, workers=3))
    with pytest.raises(RedilateError, match="threads is 0; at least 1 is needed"):
        list(run_on_ray([1], make_ten, divide, threads=0))
    with pytest.raises(RedilateError, match="workers is 0; at least 1 is needed"):
        list(run_on_ray([1], make_ten, divide, workers=0))
    assert list(run_on_ray([], make_nothing, divide)) == []


def test_pictures_are_bit_for_bit_those_of_this_process():
    tasks = [(Task(f"apple{k}", k, "a red apple", k, 256, 256, 1, 3.0, None),) for k in range(2)]
    work = partial(draw, method="direct", model="bundled", encode=png)
    here = {one.task: one.result for one in run(tasks, load_bundled, work, threads=1)}
    there = {one.task: one.result for one in run_on_ray(tasks, load_bundled, work, workers=1)}
    assert [there[task][0].picture for task in tasks] == [here[task][0].picture for task in tasks]
