"""Metrics for Prometheus at /metrics."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator import Instrumentator, metrics

from ..drawing_thread import DrawingThread

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)


class Metrics(Collector):
    """One server's metrics, with the process's memory and time; `images` counts pictures by method and legs."""

    def __init__(self, thread: DrawingThread):
        self._thread, self._registry = thread, CollectorRegistry()
        self.images = Counter(
            "redilate_images", "Pictures finished.", ["method", "legs"], registry=self._registry
        )
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """The drawing thread's state at the time of the request."""
        thread = self._thread
        yield GaugeMetricFamily("redilate_waiting", "Requests that wait.", value=thread.waiting)
        yield GaugeMetricFamily("redilate_drawing", "Requests being drawn.", value=int(thread.busy))
        cancelled = "Requests cancelled before they were done."
        yield CounterMetricFamily("redilate_cancelled", cancelled, value=thread.cancelled)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def measure(self, app: FastAPI) -> None:
        """Count requests by route and status."""
        # Not by path or method, which a client can make up: each new value would be stored for good.
        each = {"metric_namespace": "redilate", "should_include_method": False, "registry": self._registry}
        requests = metrics.requests(**each)
        seconds = metrics.latency(**each, buckets=_SECONDS, should_include_status=False)
        grouped = Instrumentator(should_group_status_codes=False, registry=self._registry)
        grouped.add(requests, seconds).instrument(app)
