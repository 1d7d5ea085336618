"""Jobs are drawn one at a time in their order, end when they are cancelled, and find the queue bounded."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from redilate.apps.drawing_thread import Cancelled, DrawingThread, Ended, Job, QueueFull


@pytest.fixture
def thread():
    """Its jobs' requests are functions, which it calls."""
    thread = DrawingThread(lambda job: job.request(job), places=2)
    yield thread
    thread.stop(5)


def submitted(thread: DrawingThread, work: Callable[[Job], None]) -> tuple[Job, SimpleQueue[Any]]:
    events: SimpleQueue[Any] = SimpleQueue()
    job = Job(work, events.put)
    thread.submit(job)
    return job, events


def was_cancelled(events: SimpleQueue[Any]) -> bool:
    last = events.get(timeout=5)
    return isinstance(last, Ended) and isinstance(last.error, Cancelled)


def until(gate: threading.Event) -> Callable[[Job], None]:
    """Work that lasts until `gate` opens, or until it is cancelled."""

    def work(job: Job) -> None:
        while not gate.wait(0.01):
            job.check()

    return work


def test_jobs_run_one_at_a_time_in_the_order_they_came(thread: DrawingThread):
    gate, seen, busy = threading.Event(), [], threading.Lock()

    def work(job: Job) -> None:
        assert busy.acquire(blocking=False), "two at once"
        gate.wait(5)
        seen.append(job)
        job.put("drawn")
        busy.release()

    jobs, events = zip(*(submitted(thread, work) for _ in range(3)), strict=True)
    while not thread.busy:
        pass
    assert [thread.ahead(job) for job in jobs] == [0, 1, 2]
    gate.set()
    for each in events:
        assert each.get(timeout=5) == "drawn" and each.get(timeout=5) == Ended()
    assert seen == list(jobs) and [thread.ahead(job) for job in jobs] == [0, 0, 0]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(thread: DrawingThread):
    gate = threading.Event()
    events = [submitted(thread, until(gate))[1] for _ in range(3)]
    while not thread.busy:
        pass
    with pytest.raises(QueueFull, match="the queue is full with 2 requests; try again in 3 s"):
        submitted(thread, until(gate))
    gate.set()
    for each in events:
        assert each.get(timeout=5) == Ended()
    assert submitted(thread, until(gate))[1].get(timeout=5) == Ended()


def test_a_job_stops_under_way_and_one_that_waits_never_starts(thread: DrawingThread):
    started: list[Job] = []
    first, of_first = submitted(thread, until(threading.Event()))
    second, of_second = submitted(thread, started.append)
    for job, events in ((second, of_second), (first, of_first)):
        thread.cancel(job)
        assert was_cancelled(events)
    assert not started and thread.cancelled == 2


def test_what_work_raises_reaches_whoever_listens_and_the_thread_lives_on(thread: DrawingThread):
    def fail(_: Job) -> None:
        raise RuntimeError("no")

    last = submitted(thread, fail)[1].get(timeout=5)
    assert isinstance(last, Ended) and str(last.error) == "no"
    assert submitted(thread, lambda _: None)[1].get(timeout=5) == Ended()


def test_at_the_end_all_jobs_are_cancelled_and_no_more_are_taken(thread: DrawingThread):
    events = [submitted(thread, until(threading.Event()))[1] for _ in range(3)]
    thread.stop(5)
    assert all(map(was_cancelled, events)) and not thread.busy
    with pytest.raises(Cancelled):
        submitted(thread, until(threading.Event()))


@pytest.mark.parametrize("error", [Cancelled, ValueError, SystemExit])
def test_however_a_drawing_ends_its_listener_hears_of_it_and_its_memory_is_freed(
    thread: DrawingThread, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
):
    # pytest keeps what is logged, and with it the traceback.
    monkeypatch.setattr("redilate.apps.drawing_thread.log.exception", lambda *_: None)

    class Latents:
        pass

    held: list[weakref.ref[Latents]] = []

    def work(job: Job) -> None:
        latents = Latents()
        held.append(weakref.ref(latents))
        raise error

    _, events = submitted(thread, work)
    last = events.get(timeout=5)
    assert isinstance(last, Ended) and isinstance(last.error, error)
    del last
    _, events = submitted(thread, lambda job: (gc.collect(), job.put(held[0]() is None)))
    assert events.get(timeout=5) is True and events.get(timeout=5) == Ended()
