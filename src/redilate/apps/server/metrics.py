"""Metrics for Prometheus at /metrics."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_fastapi_instrumentator import Instrumentator, metrics

from ..drawing_thread import DrawingThread

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)


class Metrics:
    """One server's metrics, with the process's memory and time; `images` counts pictures by method and legs."""

    def __init__(self, thread: DrawingThread):
        self._registry = CollectorRegistry()
        self.images = Counter(
            "redilate_images", "Pictures finished.", ["method", "legs"], registry=self._registry
        )
        self._registry.register(_Queue(thread))  # type: ignore[arg-type]
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self._registry)

    def measure(self, app: FastAPI) -> None:
        """Count requests by route and status."""
        # Not by path or method, which a client can make up: each new value would be stored for good.
        each = {"metric_namespace": "redilate", "should_include_method": False, "registry": self._registry}
        requests = metrics.requests(**each)
        seconds = metrics.latency(**each, buckets=_SECONDS, should_include_status=False)
        Instrumentator(should_group_status_codes=False, registry=self._registry).add(
            requests, seconds
        ).instrument(app)


class _Queue:
    """The drawing thread's state at the time of the request."""

    def __init__(self, thread: DrawingThread):
        self._thread = thread

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("redilate_waiting", "Requests that wait.", value=self._thread.waiting)
        yield GaugeMetricFamily("redilate_drawing", "Requests being drawn.", value=int(self._thread.busy))
        yield CounterMetricFamily(
            "redilate_cancelled", "Requests cancelled before they were done.", value=self._thread.cancelled
        )
