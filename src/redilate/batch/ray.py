"""Running tasks on a Ray cluster: an actor with a pipeline for each GPU or share of the CPUs.

Pictures come back through Ray's object store, and only the calling process writes: no disk need be shared.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import RedilateError
from .local import ATTEMPTS, MakePipe, Outcome, R, T, Work, attempt, check_numbers, load


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

    A task is read from `tasks` only when an actor is free; an actor that dies is replaced. RedilateError without the
    extra `batch`, for a missing or too small cluster, and if `make_pipe` fails.

    Args:
        address: as for `ray.init`: "auto", "host:port", "ray://host:port", or "local" for a cluster of this machine for
            the time of the run. An existing connection is used in any case.
        workers: actors; None: one for each GPU of the cluster, or without GPUs for each `threads` CPUs.
        threads: torch's in each actor, and the CPUs that it takes.
    """
    check_numbers(workers, threads)
    with _connected(address):
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        gpus, cpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        most, what = cpus // threads, f"{cpus} CPUs for {threads} threads each"
        if gpus:
            most, what = gpus, f"{gpus} GPUs"
        if most < (workers or 1):
            raise RedilateError(
                f"the Ray cluster has {what}: {workers or 1} workers are too many, {most} work"
            )
        size = workers or most
        actor_class: Any = ray.remote(_Actor)
        actor_class = actor_class.options(num_cpus=1 if gpus else threads, num_gpus=1 if gpus else 0)
        jobs = ((task, 0) for task in tasks)  # with the number of actors that have died over it
        again: deque[tuple[T, int]] = deque()
        idle: list[Any] = []
        busy: dict[Any, tuple[Any, T, int]] = {}  # reference to an outcome → actor and job
        try:
            while True:
                while len(busy) < size:
                    job = again.popleft() if again else next(jobs, None)
                    if job is None:
                        break
                    actor = idle.pop() if idle else actor_class.remote(make_pipe, work, threads, device)
                    busy[actor.outcome.remote(job[0])] = (actor, *job)
                if not busy:
                    return
                [ended], _ = ray.wait(list(busy))
                actor, task, deaths = busy.pop(ended)
                try:
                    refusal, outcome = ray.get(ended)
                except (RayActorError, ObjectLostError):
                    if deaths + 1 < ATTEMPTS:
                        again.append((task, deaths + 1))
                    else:
                        cause = f"{ATTEMPTS} actors died over it, one after another"
                        yield Outcome(task, None, cause, None)
                    continue
                idle.append(actor)
                if refusal is not None:
                    raise RedilateError(refusal)
                yield outcome
        finally:
            for actor in [*idle, *(actor for actor, _, _ in busy.values())]:
                ray.kill(actor)


class _Actor:
    """One pipeline on one GPU or share of the CPUs, loaded for the first task."""

    def __init__(self, make_pipe: MakePipe, work: Work[Any, Any], threads: int, device: str | None):
        self._make_pipe, self._work, self._threads, self._device = make_pipe, work, threads, device
        self._pipe: Any = None

    def outcome(self, task: Any) -> tuple[str | None, Outcome[Any, Any] | None]:
        """None and the task's outcome, or the reason why there is no pipeline and None."""
        import torch

        torch.set_num_threads(self._threads)
        if self._pipe is None:
            self._pipe, refusal = load(self._make_pipe, self._device)
            if refusal is not None:
                return refusal, None
        try:
            return None, attempt(self._work, self._pipe, task, None)
        except Exception:
            os._exit(1)  # this process is no use any more, and only a dead one is replaced


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """A context with a connection to Ray, the existing one or a new one."""
    try:
        import ray
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
