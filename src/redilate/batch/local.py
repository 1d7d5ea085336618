"""Running tasks on one machine, in this process or in worker processes; dead workers are replaced.

Own code, because neither pebble nor loky gives workers their devices, reports steps, or notices workers that die while
they load.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from ..errors import RedilateError

T = TypeVar("T")
R = TypeVar("R")

# Called with (steps done, steps in all) of one task.
OnStep = Callable[[int, int], None]
# Device → pipeline; None leaves the choice to the loader.
MakePipe = Callable[[str | None], Any]
# Called with (pipeline, task, function to report steps to, or None).
Work = Callable[[Any, T, OnStep | None], R]

# How many processes may die with one task, or in a row while loading.
ATTEMPTS = 3
# Seconds for a worker to stop before it is killed.
_STOP_SECONDS = 5.0


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


def check_numbers(workers: int | None, threads: int | None, fewest: int = 0) -> None:
    """RedilateError for less than the `fewest` workers, or for less than one thread."""
    for name, value, least in (("workers", workers, fewest), ("threads", threads, 1)):
        if value is not None and value < least:
            raise RedilateError(f"{name} is {value}; at least {least} is needed")


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

    A task is read from `tasks` only when a worker is free. An exception of `work` is its task's outcome. A process that
    dies is replaced, and its task is given to another. Closing the generator stops all workers. RedilateError at the
    first outcome, for invalid numbers, or if `make_pipe` fails.

    Args:
        workers: processes, each with its own pipeline, for which tasks, functions and results must pickle; 0: this one.
        threads: torch's in each worker, on which the last bit of a result can depend; None leaves them.
        devices: worker k loads on devices[k % len(devices)].
        on_step: called with (task, steps done, steps in all), if `work` reports steps.
    """
    check_numbers(workers, threads)
    if workers == 0:
        pipe = None
        with _torch_threads(threads):
            for task in tasks:
                pipe = make_pipe(devices[0]) if pipe is None else pipe
                yield attempt(work, pipe, task, on_step and partial(on_step, task))
        return
    jobs = (_Job(task) for task in tasks)
    again: deque[_Job] = deque()
    crew: list[_Worker | None] = [None] * workers
    deaths_while_loading = 0
    try:
        while True:
            # Idle workers first; a process is only started for a task.
            for slot in sorted(range(workers), key=lambda slot: crew[slot] is None):
                worker = crew[slot]
                if worker is not None and worker.job is not None:
                    continue
                job = again.popleft() if again else next(jobs, None)
                if job is None:
                    break
                if worker is None:
                    device = devices[slot % len(devices)]
                    worker = crew[slot] = _Worker(device, make_pipe, work, threads, on_step is not None)
                worker.start(job)
            busy = [(slot, one, one.job) for slot, one in enumerate(crew) if one and one.job]
            if not busy:
                return
            heard = wait([worker.connection for _, worker, _ in busy])
            for slot, worker, job in busy:
                if worker.connection not in heard:
                    continue
                match worker.receive():
                    case ("ready",):
                        worker.ready, deaths_while_loading = True, 0
                    case ("refused", reason):
                        raise RedilateError(reason)
                    case ("step", done, total) if on_step is not None:
                        on_step(job.task, done, total)
                    case ("outcome", result, cause, process):
                        worker.job = None
                        yield Outcome(job.task, result, cause, process)
                    case ("died", ended):
                        crew[slot] = None
                        if worker.ready:
                            job.deaths += 1
                        else:
                            deaths_while_loading += 1
                        if deaths_while_loading == ATTEMPTS:
                            raise RedilateError(
                                f"{ATTEMPTS} worker processes in a row {ended} while they loaded the model; "
                                "fewer workers need less memory"
                            )
                        if job.deaths < ATTEMPTS:
                            again.append(job)
                        else:
                            cause = f"{ATTEMPTS} worker processes {ended} over it, one after another"
                            yield Outcome(job.task, None, cause, None)
    finally:
        living = [worker for worker in crew if worker is not None]
        for worker in living:
            worker.connection.close()
            worker.process.terminate()
        for worker in living:
            worker.process.join(_STOP_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


@dataclass
class _Job:
    """A task, and how many processes have died with it."""

    task: Any
    deaths: int = 0


class _Worker:
    """A process, our end of its pipe, and its job."""

    def __init__(self, *arguments: Any):
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
        self.ready = False
        self.job: _Job | None = None
        # A terminal sends Ctrl-C to every process, and we stop ours ourselves. Only the main thread has handlers.
        in_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None
        try:
            self.process.start()
        finally:
            if in_main:
                signal.signal(signal.SIGINT, before)
        theirs.close()  # so that ours ends when the process does

    def start(self, job: _Job) -> None:
        """Send a job; if the process has just died, its pipe will end."""
        self.job = job
        with suppress(OSError):
            self.connection.send(job.task)

    def receive(self) -> tuple[Any, ...]:
        """The next message of `_serve`, or ("died", how) if the process is dead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.connection.close()
            self.process.join(_STOP_SECONDS)
            code = self.process.exitcode
            if code is not None and code < 0:
                return "died", f"were killed by {signal.Signals(-code).name}"
            return "died", f"ended with code {code}"


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

    def report(done: int, total: int) -> None:
        connection.send(("step", done, total))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError), _torch_threads(threads):
        pipe, refusal = load(make_pipe, device)
        if refusal is not None:
            connection.send(("refused", refusal))
            return
        connection.send(("ready",))
        while True:
            outcome = attempt(work, pipe, connection.recv(), report if steps else None)
            connection.send(("outcome", outcome.result, outcome.cause, outcome.worker))


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
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
