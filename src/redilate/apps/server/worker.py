"""One thread that draws, one request after another, and the bounded queue in front of it."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable

from redilate.errors import RedilateError

from .errors import ApiError
from .picture_request import Done, Event, Failed, PictureRequest

log = logging.getLogger("redilate.server")

# How much the newest request counts in the mean that Retry-After is reckoned from.
_NEWEST = 0.3


class Cancelled(Exception):
    """Raised within a drawing whose request has been cancelled: by its client, its time limit or a shutdown."""


class Job:
    """One request on its way: made and read in the event loop, worked on in the worker's thread.

    Attributes:
        drawing: what to draw.
        legs: in how many legs the last picture was drawn.
        events: what has come of it so far; `Done` or `Failed` is the last.
    """

    def __init__(self, drawing: PictureRequest):
        self.drawing = drawing
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.legs = 1
        self._loop = asyncio.get_running_loop()
        self._cancelled = threading.Event()

    def put(self, event: Event) -> None:
        """Hand an event over to the event loop, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:
            log.debug("the event loop ended before its drawing did")

    def cancel(self) -> None:
        """Have the drawing stop at its next step."""
        self._cancelled.set()

    def check(self) -> None:
        """Called by the drawing between steps; Cancelled if it is to stop."""
        if self._cancelled.is_set():
            raise Cancelled


class Worker:
    """Draws the jobs that are submitted, in their order.

    Args:
        draw: draws one job's drawing, hands over its pictures with `job.put` and calls `job.check` between steps.
        places: how many jobs may wait.
    """

    def __init__(self, draw: Callable[[Job], None], places: int):
        self._draw = draw
        self._places = places
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._draining = self._stopped = False
        self._seconds = 1.0  # the mean of a job
        self.cancelled = 0
        self._thread = threading.Thread(target=self._run, name="redilate-worker", daemon=True)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether one is being drawn."""
        return self._running is not None

    @property
    def draining(self) -> bool:
        """Whether no more are taken."""
        return self._draining

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Put a job into the queue.

        Raises:
            ApiError: 429 with Retry-After if all places are taken, 503 if the server is shutting down.
        """
        with self._changed:
            if self._draining:
                raise shutting_down()
            # One that can start at once needs no place to wait in.
            if len(self._waiting) >= self._places + (self._running is None):
                wait = math.ceil(self._seconds * (len(self._waiting) + 1))
                raise ApiError(
                    429,
                    f"{len(self._waiting)} requests are waiting, which is as many as may; come back in {wait} s",
                    code="queue_full",
                    headers={"Retry-After": str(max(1, min(wait, 60)))},
                )
            self._waiting.append(job)
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """Stop a job: at once if it waits, at its next step if it is being drawn; nothing if it has ended."""
        job.cancel()
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self.cancelled += 1

    def drain(self) -> int:
        """Take no more jobs and turn those away that wait; the one being drawn goes on. → how many were waiting."""
        with self._changed:
            self._draining = True
            turned_away = list(self._waiting)
            self._waiting.clear()
        for job in turned_away:
            job.put(Failed(shutting_down()))
        return len(turned_away)

    def stop(self, seconds: float = 10.0) -> bool:
        """End the thread: what is being drawn is cancelled. → whether it ended within `seconds`."""
        self.drain()
        with self._changed:
            self._stopped = True
            running = self._running
            self._changed.notify_all()
        if running is not None:
            running.cancel()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel_running(self) -> bool:
        """Cancel what is being drawn and tell its client of the shutdown. → whether there was anything."""
        running = self._running
        if running is None:
            return False
        running.cancel()
        running.put(Failed(shutting_down()))
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                job = self._running = self._waiting.popleft()
            started = time.monotonic()
            last = self._one(job)
            took = time.monotonic() - started
            with self._changed:
                self._seconds += _NEWEST * (took - self._seconds)
                self._running = None
            # Only now: who hears that it is done may ask for the place that it had.
            job.put(last)

    def _one(self, job: Job) -> Event:
        """Draw one job; → its last event."""
        try:
            job.check()
            self._draw(job)
        except Cancelled:
            self.cancelled += 1
            return Failed(Cancelled())
        except Exception as error:
            if not isinstance(error, RedilateError):
                log.exception("a picture could not be drawn")
            return Failed(error)
        return Done()


def shutting_down() -> ApiError:
    """What is answered during a shutdown."""
    return ApiError(503, "the server is shutting down", code="shutting_down", headers={"Retry-After": "30"})
