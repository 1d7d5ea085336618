"""One thread that draws, one picture at a time, and a bounded line before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from redilate.errors import RedilateError


class Stopped(Exception):
    """Raised inside a job that was told to stop, at its next step."""


class Job:
    """A piece of work in the line or under way, and what it has reported."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._reports: SimpleQueue[Any] = SimpleQueue()
        self.future: Future[Any] = Future()

    def stop(self) -> None:
        """Ask the work to end at its next step; one that still waits never starts."""
        self._stop.set()

    def check(self) -> None:
        """For the work itself, as often as it can.

        Raises:
            Stopped: if it was asked to end.
        """
        if self._stop.is_set():
            raise Stopped

    def report(self, what: Any) -> None:
        """For the work itself: hand something to whoever watches."""
        self._reports.put(what)

    def next_report(self, seconds: float) -> Any | None:
        """The next report, or None if none came in that time."""
        try:
            return self._reports.get(timeout=seconds)
        except Empty:
            return None


class Worker:
    """The one thread. A line as long as `waiting` may stand before it.

    A thread of its own, rather than whichever thread asks: torch keeps a pool of threads for each that calls it.
    """

    def __init__(self, waiting: int = 8):
        self._waiting = waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="redilate-web")
        self._lock = threading.Lock()
        self._jobs: list[Job] = []

    def submit(self, work: Callable[[Job], Any]) -> Job:
        """Put `work` at the end of the line; its `Job.future` has its result, or what it raised.

        Raises:
            RedilateError: if the line is full.
        """
        job = Job()
        with self._lock:
            if len(self._jobs) > self._waiting:
                raise RedilateError(
                    f"{self._waiting} others already wait for a picture; try again when some are done"
                )
            self._jobs.append(job)
        self._thread.submit(self._run, job, work)
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one; 0 for the one under way and for one that is done."""
        with self._lock:
            return self._jobs.index(job) if job in self._jobs else 0

    def close(self) -> None:
        """Stop what is under way and what waits, and wait for that."""
        with self._lock:
            for job in self._jobs:
                job.stop()
        self._thread.shutdown(wait=True)

    def _run(self, job: Job, work: Callable[[Job], Any]) -> None:
        try:
            job.check()
            result = work(job)
        except BaseException as error:
            self._forget(job)
            job.future.set_exception(error)
        else:
            self._forget(job)
            job.future.set_result(result)

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._jobs.remove(job)
