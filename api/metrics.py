"""What the gateway measures, in Prometheus' format: its requests, and the queue as the database has it.

Labels never hold what a caller sends: a route is its template, a method one of the known ones.
"""

import logging
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.errors import Transient
from jobs.lanes import LANES
from jobs.metrics import SHORT_S

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
REQUEST_S = (*SHORT_S, 30, 60)


class Measured(Protocol):
    """What the queue's collector asks; `jobs.store.JobStore` is one."""

    def depths(self) -> dict[str, int]: ...
    def oldest_queued_s(self) -> float: ...
    def running(self) -> int: ...
    def parts_under_way(self) -> dict[tuple[str, str], int]: ...


class Metrics:
    """One gateway's registry."""

    def __init__(self, store: Measured) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(QueueCollector(store))
        self._requests = Histogram(
            "ganserve_http_request_seconds",
            "Time from the first byte of a request to the last of its answer.",
            ("method", "route", "status"),
            buckets=REQUEST_S,
            registry=self.registry,
        )
        self._problems = Counter(
            "ganserve_http_problems", "Answers that are problems.", ("code",), registry=self.registry
        )
        self.submit_seconds = Histogram(
            "ganserve_submit_seconds",
            "Checking and recording one job.",
            buckets=SHORT_S,
            registry=self.registry,
        )
        self.unlimited = Counter(
            "ganserve_rate_limit_skipped",
            "Calls that were not counted because Redis did not answer.",
            registry=self.registry,
        )
        self.submitted = Counter(
            "ganserve_jobs_submitted", "Jobs accepted.", ("kind", "priority"), registry=self.registry
        )
        self.streams = Gauge(
            "ganserve_http_streams", "Event streams and long polls that are open.", registry=self.registry
        )

    def request(self, method: str, route: str, status: int, seconds: float, problem: str | None) -> None:
        """`problem`: the code of the answer, if it was one."""
        known = method if method in METHODS else "other"
        self._requests.labels(known, route, str(status)).observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()


class QueueCollector(Collector):
    """Depth and age of the queue, read from the database at each scrape."""

    def __init__(self, store: Measured) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("ganserve_queue_jobs", "Jobs that wait, by lane.", labels=("lane",))
        oldest = GaugeMetricFamily("ganserve_queue_oldest_seconds", "How long the oldest job has waited.")
        running = GaugeMetricFamily("ganserve_jobs_running", "Jobs that a worker holds.")
        parts = GaugeMetricFamily(
            "ganserve_parts", "Shards and lines of what is not over.", labels=("kind", "state")
        )
        try:
            depths = self._store.depths()
            for lane in LANES:
                depth.add_metric((lane,), depths.get(lane, 0))
            oldest.add_metric((), self._store.oldest_queued_s())
            running.add_metric((), self._store.running())
            for labels, count in self._store.parts_under_way().items():
                parts.add_metric(labels, count)
        except Transient:
            logger.warning("the queue could not be measured: the database did not answer")
        yield from (depth, oldest, running, parts)

    def describe(self) -> list[Metric]:
        return []  # registering must not ask the database
