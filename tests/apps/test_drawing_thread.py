from __future__ import annotations

import threading

import pytest

from redilate import RedilateError
from redilate.apps.web.worker import Job, Stopped, Worker


@pytest.fixture
def worker():
    worker = Worker(waiting=2)
    yield worker
    worker.close()


def _until(event: threading.Event):
    """Work that lasts until `event`, or until it is stopped."""

    def work(job: Job) -> str:
        while not event.wait(0.01):
            job.check()
        return "done"

    return work


def test_jobs_run_one_at_a_time_in_the_order_they_came(worker: Worker):
    gate, seen, busy = threading.Event(), [], threading.Lock()

    def work(number: int):
        def inner(_: Job) -> int:
            assert busy.acquire(blocking=False), "two at once"
            gate.wait(5)
            seen.append(number)
            busy.release()
            return number

        return inner

    jobs = [worker.submit(work(number)) for number in range(3)]
    assert [worker.ahead(job) for job in jobs] == [0, 1, 2]
    gate.set()
    assert [job.future.result(5) for job in jobs] == seen == [0, 1, 2]
    assert [worker.ahead(job) for job in jobs] == [0, 0, 0]


def test_a_full_line_refuses_and_takes_again_when_there_is_room(worker: Worker):
    gate = threading.Event()
    jobs = [worker.submit(_until(gate)) for _ in range(3)]
    with pytest.raises(RedilateError, match="2 others already wait"):
        worker.submit(_until(gate))
    gate.set()
    for job in jobs:
        job.future.result(5)
    assert worker.submit(_until(gate)).future.result(5) == "done"


def test_a_job_stops_under_way_and_one_that_waits_never_starts(worker: Worker):
    never = threading.Event()
    started = []
    first = worker.submit(_until(never))
    second = worker.submit(lambda job: started.append(job))
    second.stop()
    first.stop()
    for job in (first, second):
        with pytest.raises(Stopped):
            job.future.result(5)
    assert not started


def test_what_work_raises_reaches_whoever_waits_and_the_thread_lives_on(worker: Worker):
    def fail(_: Job) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        worker.submit(fail).future.result(5)
    assert worker.submit(lambda _: 7).future.result(5) == 7


def test_reports_arrive_in_order_and_their_absence_is_none(worker: Worker):
    job = worker.submit(lambda job: [job.report(number) for number in range(3)])
    assert [job.next_report(5) for _ in range(3)] == [0, 1, 2]
    assert job.next_report(0.01) is None


def test_closing_stops_all_jobs():
    worker = Worker()
    jobs = [worker.submit(_until(threading.Event())) for _ in range(3)]
    worker.close()
    for job in jobs:
        with pytest.raises(Stopped):
            job.future.result(0)
