"""One thread that draws one request after another, with a bounded queue.

Always the same thread, because torch keeps a thread pool for each thread that calls it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redilate.errors import RedilateError

log = logging.getLogger("redilate.drawing")

# The weight of the newest request in the running mean of the time for one.
_NEWEST = 0.3


class Cancelled(Exception):
    """Raised in a drawing whose request was cancelled: by its client, its time limit or a shutdown."""


class QueueFull(RedilateError):
    """The queue is full; `seconds` is about how long its requests take."""

    def __init__(self, waiting: int, seconds: int):
        super().__init__(f"the queue is full with {waiting} requests; try again in {seconds} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Ended:
    """The last event of a job; `error` is why not all of its pictures were sent."""

    error: BaseException | None = None


class Job:
    """One request in the queue or being drawn.

    `put` is called with its events, in the drawing thread or the one that cancels; the last is `Ended`.
    """

    def __init__(self, request: Any, put: Callable[[Any], None]):
        self.request, self.put = request, put
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Stop the drawing at its next step."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise `Cancelled` if the job was cancelled; the drawing calls it between steps."""
        if self._cancelled.is_set():
            raise Cancelled


class DrawingThread:
    """Draws submitted jobs in their order; at most `places` wait.

    `draw` draws one job's request, sends its events with `job.put` and calls `job.check` between steps.
    """

    def __init__(self, draw: Callable[[Job], None], places: int):
        self._draw, self._places = draw, places
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._seconds = 1.0  # the mean of a job
        self.cancelled = 0  # jobs
        self.draining = False  # new jobs are refused
        self._thread = threading.Thread(target=self._run, name="redilate-drawing", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether one is being drawn."""
        return self._running is not None

    def ahead(self, job: Job) -> int:
        """How many jobs come before this one; 0 if it is being drawn or has ended."""
        with self._changed:
            return self._waiting.index(job) + self.busy if job in self._waiting else 0

    def submit(self, job: Job) -> None:
        """Put a job into the queue; QueueFull, or Cancelled while draining."""
        with self._changed:
            if self.draining:
                raise Cancelled
            # A job that can start at once needs no place in the queue.
            if self.waiting >= self._places + (not self.busy):
                wait = math.ceil(self._seconds * (self.waiting + 1))
                raise QueueFull(self.waiting, max(1, min(wait, 60)))
            self._waiting.append(job)
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Stop a job: at once if it waits, at its next step if it is being drawn."""
        job.cancel()
        with self._changed:
            if job not in self._waiting:
                return
            self._waiting.remove(job)
            self.cancelled += 1
        job.put(Ended(Cancelled()))

    def drain(self) -> int:
        """Refuse new and waiting jobs; the one being drawn goes on. → how many were waiting."""
        with self._changed:
            self.draining = True
            turned_away = list(self._waiting)
            self._waiting.clear()
        for job in turned_away:
            job.put(Ended(Cancelled()))
        return len(turned_away)

    def cancel_running(self) -> bool:
        """Cancel the job being drawn and tell its listener at once. → whether there was one."""
        running = self._running
        if running is None:
            return False
        running.cancel()
        running.put(Ended(Cancelled()))
        return True

    def stop(self, seconds: float | None = None) -> None:
        """Cancel all jobs and end the thread, waiting at most `seconds`."""
        self.drain()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.cancel_running()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                job = self._running = self._waiting.popleft()
            started = time.monotonic()
            last = self._one(job)
            took = time.monotonic() - started
            with self._changed:
                self._seconds += _NEWEST * (took - self._seconds)
                self._running = None
            # Only now, since the listener may submit another job at once.
            job.put(last)
            del job, last  # an error's traceback keeps the drawing's tensors alive

    def _one(self, job: Job) -> Ended:
        """Draw one job; → its last event."""
        try:
            job.check()
            self._draw(job)
        except Cancelled:
            self.cancelled += 1
            return Ended(Cancelled())
        except BaseException as error:  # the listener always gets a last event
            if not isinstance(error, RedilateError):
                log.exception("a picture could not be drawn")
            return Ended(error)
        return Ended()


def out_of_memory(error: BaseException) -> bool:
    """Whether the host's or the device's memory ran out."""
    # torch's class by name, so that torch is not imported for it.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
