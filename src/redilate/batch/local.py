"""Running tasks on one machine, in this process or in worker processes; dead workers are replaced.

Own code, because neither pebble nor loky gives workers their devices, reports steps, or notices workers that die while
they load.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from tqdm import tqdm

from ..errors import RedilateError
from .engine import ATTEMPTS, MakePipe, Outcome, Work, attempt, load, torch_threads

T = TypeVar("T")
R = TypeVar("R")

# Seconds for a worker to stop before it is killed.
_STOP_SECONDS = 5.0


@dataclass
class _Job:
    """A task, and how many processes have died with it."""

    task: Any
    deaths: int = 0


@dataclass
class _Worker:
    """A process and its job."""

    slot: int
    process: SpawnProcess
    ready: bool = False
    job: _Job | None = None


class _Crew:
    """The worker processes by our end of their pipes."""

    def __init__(self, arguments: tuple[Any, ...], devices: Sequence[str | None], size: int):
        self._arguments = arguments
        self._devices = devices
        self._free_slots = list(range(size - 1, -1, -1))
        self.workers: dict[Connection, _Worker] = {}

    def for_new_job(self) -> Connection | None:
        """An idle worker, or a new one if there may be more, or None."""
        for connection, worker in self.workers.items():
            if worker.job is None:
                return connection
        return self._start(self._free_slots.pop()) if self._free_slots else None

    def give(self, connection: Connection, job: _Job) -> None:
        """Send a job; if the worker has just died, its pipe will end."""
        self.workers[connection].job = job
        with suppress(OSError):
            connection.send(job.task)

    def bury(self, connection: Connection) -> None:
        """Remove a dead worker and free its slot, and so its device."""
        worker = self.workers.pop(connection)
        connection.close()
        worker.process.join(_STOP_SECONDS)
        self._free_slots.append(worker.slot)

    def stop(self) -> None:
        """End all processes."""
        for connection, worker in self.workers.items():
            connection.close()
            worker.process.terminate()
        for worker in self.workers.values():
            worker.process.join(_STOP_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _start(self, slot: int) -> Connection:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        ours, theirs = context.Pipe()
        device = self._devices[slot % len(self._devices)]
        process = context.Process(target=_serve, args=(theirs, device, *self._arguments), daemon=True)
        with _interrupts_ignored():
            process.start()
        theirs.close()  # so that ours ends when the process does
        self.workers[ours] = _Worker(slot, process)
        return ours


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
    """Do `work` for each task on this machine; outcomes come in the order in which tasks end.

    A task is read from `tasks` only when a worker is free, so a generator of a million needs no memory. An exception of
    `work` is its task's outcome. A process that dies is replaced, and its task is given to another. Closing the
    generator stops all workers.

    Args:
        make_pipe: called once in each worker.
        work: called with (pipeline, task, function to report steps to, or None).
        workers: processes, each with its own pipeline, for which tasks, functions and results must pickle; 0: this
            process.
        threads: torch's in each worker, on which the last bit of a result can depend; None leaves them.
        devices: worker k loads on devices[k % len(devices)].
        on_step: called with (task, steps done, steps in all), if `work` reports steps.

    Raises:
        RedilateError: at the first outcome, for invalid numbers, or if `make_pipe` fails.
    """
    for name, value, least in (("workers", workers, 0), ("threads", threads, 1)):
        if value is not None and value < least:
            raise RedilateError(f"{name} is {value}; at least {least} is needed")
    if workers == 0:
        pipe = None
        with torch_threads(threads):
            for task in tasks:
                pipe = make_pipe(devices[0]) if pipe is None else pipe
                yield attempt(work, pipe, task, on_step and partial(on_step, task))
        return
    fresh = (_Job(task) for task in tasks)
    again: deque[_Job] = deque()
    deaths_while_loading = 0
    crew = _Crew((make_pipe, work, threads, on_step is not None), devices, workers)
    try:
        while True:
            while (connection := crew.for_new_job()) is not None:
                job = again.popleft() if again else next(fresh, None)
                if job is None:
                    break
                crew.give(connection, job)
            busy = [connection for connection, worker in crew.workers.items() if worker.job is not None]
            if not busy:
                return
            for connection in wait(busy):
                assert isinstance(connection, Connection)
                worker = crew.workers[connection]
                job = worker.job
                assert job is not None
                try:
                    kind, *rest = connection.recv()
                except (EOFError, OSError):
                    crew.bury(connection)
                    if worker.ready:
                        job.deaths += 1
                    else:
                        deaths_while_loading += 1
                    code = worker.process.exitcode
                    ended = f"ended with code {code}"
                    if code is not None and code < 0:
                        ended = f"were killed by {signal.Signals(-code).name}"
                    if deaths_while_loading == ATTEMPTS:
                        raise RedilateError(
                            f"{ATTEMPTS} worker processes in a row {ended} while they loaded the model; "
                            "fewer workers need less memory"
                        ) from None
                    if job.deaths < ATTEMPTS:
                        again.append(job)
                    else:
                        cause = f"{ATTEMPTS} worker processes {ended} over it, one after another"
                        yield Outcome(job.task, None, cause, None)
                    continue
                if kind == "ready":
                    worker.ready, deaths_while_loading = True, 0
                elif kind == "refused":
                    raise RedilateError(*rest)
                elif kind == "step" and on_step is not None:
                    on_step(job.task, *rest)
                elif kind == "outcome":
                    worker.job = None
                    yield Outcome(job.task, *rest)
    finally:
        crew.stop()


def _serve(
    connection: Connection,
    device: str | None,
    make_pipe: MakePipe,
    work: Work[Any, Any],
    threads: int | None,
    steps: bool,
) -> None:
    """A worker: load, then do one task after another until our end of the pipe is closed."""
    sys.stdout = sys.stderr  # stdout is for the command's result
    # tqdm's own lock would be a semaphore, which a terminated worker leaves behind with a warning.
    tqdm.set_lock(threading.RLock())
    try:
        with torch_threads(threads):
            pipe, refusal = load(make_pipe, device)
            if refusal is not None:
                connection.send(("refused", refusal))
                return
            connection.send(("ready",))

            def report(done: int, total: int) -> None:
                connection.send(("step", done, total))

            while True:
                outcome = attempt(work, pipe, connection.recv(), report if steps else None)
                connection.send(("outcome", outcome.result, outcome.cause, outcome.worker))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the other end is closed


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started in this context ignore Ctrl-C, which a terminal sends to all: we stop them ourselves."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread has signal handlers
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
