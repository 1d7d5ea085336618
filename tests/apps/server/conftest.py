"""A real server on a free port of loopback, in a thread of this process, with the bundled model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any

import httpx
import openai
import pytest

import redilate
from redilate.apps.command_line import PipelineOptions
from redilate.apps.server.guard import Keys
from redilate.apps.server.limits import Limits
from redilate.apps.server.run import Server, listen
from redilate.apps.server.service import Service
from tests.models import tiny_sdxl

KEY = "a key for tests alone"


@dataclass
class Served:
    """A server at work: where it is, and clients for it."""

    server: Server
    thread: Thread
    root: str
    openai: openai.OpenAI
    http: httpx.Client

    @property
    def service(self) -> Service:
        return self.server.service

    def draw(self, **asked: Any) -> httpx.Response:
        """POST /v1/images/generations of one small step unless told otherwise."""
        return self.http.post(
            "/v1/images/generations", json={"prompt": "x", "size": "64x64", "steps": 1} | asked
        )

    def until(self, **health: Any) -> None:
        """Wait until /healthz says so."""
        wait_until(lambda: self.http.get("/healthz").json().items() >= health.items())

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def stop(self) -> None:
        """What a signal does."""
        self.server.should_exit = True


Serving = Callable[..., AbstractContextManager[Served]]


def wait_until(happened: Callable[[], bool], seconds: float = 60) -> None:
    """Return once it has happened; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def bundled() -> Any:
    pipe = redilate.load()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def tiny() -> Any:
    pipe = tiny_sdxl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@contextmanager
def _serving(
    pipe: Any,
    keys: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    origins: tuple[str, ...] = (),
    options: PipelineOptions | None = None,
    **limits: Any,
) -> Iterator[Served]:
    limits = {"megapixels": 0.3, "steps": 1000} | limits
    server = Server(Service(pipe, None, Limits(**limits), Keys(keys), names, origins, options))
    with listen("127.0.0.1", 0) as socket:
        root = f"http://127.0.0.1:{socket.getsockname()[1]}"
        thread = Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        headers = {"Authorization": f"Bearer {keys[0]}"} if keys else {}
        with httpx.Client(base_url=root, headers=headers, timeout=120) as http:
            client = openai.OpenAI(
                api_key=keys[0] if keys else "none", base_url=f"{root}/v1", max_retries=0, timeout=120
            )
            try:
                wait_until(lambda: server.started)
                yield Served(server, thread, root, client, http)
            finally:
                server.should_exit = True
                thread.join(60)
                assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving(bundled: Any) -> Serving:
    """`with serving(keys=…, queue=…) as served`: a server of its own."""

    def serving(pipe: Any = bundled, **how: Any) -> AbstractContextManager[Served]:
        return _serving(pipe, **how)

    return serving


@pytest.fixture(scope="session")
def served(serving: Serving) -> Iterator[Served]:
    """One that several tests share."""
    with serving() as served:
        yield served
