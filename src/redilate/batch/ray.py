"""Running tasks on a Ray cluster: Ray Data with an actor pool, a pipeline for each GPU or share of the CPUs.

Pictures come back through Ray's object store, and only the calling process writes: no disk need be shared.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import RedilateError
from .local import ATTEMPTS, MakePipe, Outcome, R, T, Work, attempt, check_numbers, load

if TYPE_CHECKING:
    import numpy as np

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
    """`local.run` on the actors of a Ray cluster, where all must pickle.

    All of `tasks` is first read into Ray's object store, which spills to disk: about 0.2 kB a task. Then each actor has
    one task at a time and waits until its outcomes are taken. RedilateError without the extra `batch`, for a missing or
    too small cluster, and if `make_pipe` fails.

    Args:
        address: as for `ray.init`: "auto", "host:port", "ray://host:port", or "local" for a cluster of this machine for
            the time of the run. An existing connection is used in any case.
        workers: actors; None: one for each GPU of the cluster, or without GPUs for each `threads` CPUs.
        threads: torch's in each actor, and the CPUs that it takes.
    """
    check_numbers(workers, threads, fewest=1)
    with _connected(address), _quiet_single_rows():
        import ray
        from ray.data import ActorPoolStrategy, from_arrow_refs

        chunks, count = _put(tasks)
        if not count:
            return
        gpus, cpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        most, what = (
            (gpus, f"{gpus} GPUs") if gpus else (cpus // threads, f"{cpus} CPUs for {threads} threads each")
        )
        if most < (workers or 1):
            raise RedilateError(
                f"the Ray cluster has {what}: {workers or 1} workers are too many, {most} work"
            )
        outcomes = (
            from_arrow_refs(chunks)
            # Each row becomes a block, and so one task of an actor. It needs no CPU, of which the actors may have all.
            .flat_map(lambda row: [row], num_cpus=0)
            .map_batches(
                _Actor,
                fn_constructor_args=(
                    make_pipe,
                    work,
                    threads,
                    device,
                    ray.remote(_Tries).options(num_cpus=0).remote(),
                ),
                batch_size=1,
                batch_format="numpy",
                compute=ActorPoolStrategy(size=min(workers or most, count), max_tasks_in_flight_per_actor=1),
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
    """One pipeline on one GPU or share of the CPUs, loaded for the first task; `tries` is a handle of `_Tries`."""

    def __init__(
        self, make_pipe: MakePipe, work: Work[Any, Any], threads: int, device: str | None, tries: Any
    ):
        self._make_pipe, self._work, self._threads = make_pipe, work, threads
        self._device, self._tries = device, tries
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
                self._pipe, refusal = load(self._make_pipe, self._device)
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
def _quiet_single_rows() -> Iterator[None]:
    """A context in which Ray Data makes each row a block, so that each picture leaves its actor at once, and says
    nothing.
    """
    from ray.data import DataContext

    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.target_max_block_size, context.enable_progress_bars, logger.level
    context.target_max_block_size, context.enable_progress_bars = 1, False  # bytes
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.target_max_block_size, context.enable_progress_bars, level = before
        logger.setLevel(level)
