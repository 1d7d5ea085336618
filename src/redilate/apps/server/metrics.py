"""What Prometheus reads at /metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from .worker import Worker

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)


class Metrics:
    """The counters of one server, in a registry of its own, with the process's memory and time.

    Attributes:
        images: pictures finished, by method and number of legs.
    """

    def __init__(self, worker: Worker):
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "redilate_requests", "Requests answered.", ["endpoint", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "redilate_request_seconds",
            "Time from a request to the end of its answer.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.images = Counter(
            "redilate_images", "Pictures finished.", ["method", "legs"], registry=self._registry
        )
        self._registry.register(_Queue(worker))  # type: ignore[arg-type]
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)


class _Queue:
    """The worker's state, asked for when it is read."""

    def __init__(self, worker: Worker):
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("redilate_waiting", "Requests that wait.", value=self._worker.waiting)
        yield GaugeMetricFamily("redilate_drawing", "Requests being drawn.", value=int(self._worker.busy))
        yield CounterMetricFamily(
            "redilate_cancelled", "Requests cancelled before they were done.", value=self._worker.cancelled
        )


class Measured:
    """ASGI middleware: counts every request under the path of its route, never under one that a client made up."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        status, started = 500, time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            endpoint = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(endpoint, status, time.monotonic() - started)
