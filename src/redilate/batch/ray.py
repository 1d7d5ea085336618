"""Running tasks on a Ray cluster: Ray Data with an actor pool, a pipeline for each GPU or share of the CPUs.

Pictures come back through Ray's object store, and only the calling process writes: no disk need be shared.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import RedilateError
from .engine import ATTEMPTS, MakePipe, Outcome, Work, attempt, load

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
R = TypeVar("R")

# Tasks in each object of the store.
_CHUNK = 1000


def run_on_ray(
    tasks: Iterable[T],
    make_pipe: MakePipe,
    work: Work[T, R],
    *,
    address: str | None = None,
    workers: int | None = None,
    threads: int = 1,
    device: str | None = None,
) -> Generator[Outcome[T, R]]:
    """`local.run` on the actors of a Ray cluster.

    All of `tasks` is first read into Ray's object store, which spills to disk: about 0.2 kB a task. Then each actor has
    one task at a time and waits until its outcomes are taken. Redilate must be installed on every machine.

    Args:
        tasks, make_pipe, work: as for `local.run`; all must pickle.
        address: as for `ray.init`: "auto", "host:port", "ray://host:port", or "local" for a cluster of this machine for
            the time of the run. An existing connection is used in any case.
        workers: actors; None: one for each GPU of the cluster, or without GPUs for each `threads` CPUs.
        threads: torch's in each actor, and the CPUs that it takes.
        device: for `make_pipe`.

    Raises:
        RedilateError: without the extra `batch`, for a missing or too small cluster, and if `make_pipe` fails.
    """
    with _connected(address):
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_arrow_refs

        chunks, count = _put(tasks)
        if not count:
            return
        gpus, cpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        size = min(_pool_size(workers, threads, gpus, cpus), count)
        tries = ray.remote(_Tries).options(num_cpus=0).remote()
        with _settings(DataContext.get_current()):
            outcomes = (
                from_arrow_refs(chunks)
                # With the block size of `_settings` each row becomes a block, and so one task of an actor. It needs no
                # CPU, of which the actors may have all.
                .flat_map(lambda row: [row], num_cpus=0)
                .map_batches(
                    _Actor,
                    fn_constructor_args=(make_pipe, work, threads, device, tries),
                    batch_size=1,
                    batch_format="numpy",
                    compute=ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
                    num_cpus=1 if gpus else threads,
                    num_gpus=1 if gpus else 0,
                )
            )
            for row in outcomes.iter_rows():
                refusal, outcome = pickle.loads(row["ended"])
                if refusal is not None:
                    raise RedilateError(refusal)
                yield outcome


class _Tries:
    """Counts each task's tries outside the actors, since Ray repeats the task of a dead actor without end."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Which try at the task this is, from 1."""
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def end(self, number: int) -> None:
        """The task has ended."""
        del self._begun[number]


class _Actor:
    """One pipeline on one GPU or share of the CPUs, loaded for the first task."""

    def __init__(
        self, make_pipe: MakePipe, work: Work[Any, Any], threads: int, device: str | None, tries: Any
    ):
        self._load = partial(load, make_pipe, device)
        self._work = work
        self._threads = threads
        self._tries = tries  # a handle of _Tries
        self._pipe: Any = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        """One task's outcome, or the reason why there is no pipeline, pickled."""
        import ray
        import torch

        torch.set_num_threads(self._threads)
        number, task = int(batch["number"][0]), pickle.loads(batch["task"][0])
        refusal = outcome = None
        tried: Any = ray.get(self._tries.begin.remote(number))
        if tried > ATTEMPTS:
            outcome = Outcome(task, None, f"{ATTEMPTS} actors died over it, one after another", None)
        else:
            if self._pipe is None:
                self._pipe, refusal = self._load()
            if refusal is None:
                outcome = attempt(self._work, self._pipe, task, None)
        self._tries.end.remote(number)
        return {"ended": [pickle.dumps((refusal, outcome))]}


def _put(tasks: Iterable[Any]) -> tuple[list[Any], int]:
    """Put tasks, pickled and numbered, into the object store as Arrow tables; → references, and how many tasks."""
    import pyarrow
    import ray

    chunks, count, rest = [], 0, iter(tasks)
    while pickled := [pickle.dumps(task) for task in islice(rest, _CHUNK)]:
        table = pyarrow.table({"number": range(count, count + len(pickled)), "task": pickled})
        chunks.append(ray.put(table))
        count += len(pickled)
    return chunks, count


def _pool_size(workers: int | None, threads: int, gpus: int, cpus: int) -> int:
    most, what = cpus // threads, f"{cpus} CPUs for {threads} threads each"
    if gpus:
        most, what = gpus, f"{gpus} GPUs"
    if most < (workers or 1):
        raise RedilateError(f"the Ray cluster has {what}: {workers or 1} workers are too many, {most} work")
    return workers or most


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """A context with a connection to Ray, the existing one or a new one."""
    try:
        import ray
        import ray.data  # with pyarrow
    except ImportError as error:
        raise RedilateError("Ray is not installed: pip install 'redilate[batch]'") from error
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RedilateError(f"there is no Ray cluster at {address!r}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _settings(context: Any) -> Iterator[None]:
    """A context with Ray Data's settings for this work."""
    wanted = {
        "target_max_block_size": 1,  # bytes: each row is a block, so that each picture leaves its actor at once
        "enable_progress_bars": False,
    }
    before = {name: getattr(context, name) for name in wanted}
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        logger.setLevel(level)
