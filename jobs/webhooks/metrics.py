"""What the dispatcher measures. No tenant, URL or host is a label."""

from collections.abc import Iterator
from typing import Protocol

import structlog
from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.errors import Transient
from jobs.metrics import REGISTRY

log = structlog.get_logger(__name__)

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10)

ATTEMPTS = Counter("ganserve_webhook_attempts", "Attempts to deliver.", ("outcome",), registry=REGISTRY)
ATTEMPT_SECONDS = Histogram(
    "ganserve_webhook_attempt_seconds", "One attempt.", buckets=_SECONDS, registry=REGISTRY
)
DISABLED = Counter(
    "ganserve_webhooks_disabled", "Endpoints that were disabled.", ("reason",), registry=REGISTRY
)


class Measured(Protocol):
    """What is asked at a scrape; `jobs.store.webhooks.WebhookStore` is one."""

    def waiting(self) -> tuple[int, float]: ...


class Waiting(Collector):
    """Deliveries that wait, read from the database at each scrape."""

    def __init__(self, store: Measured) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        pending = GaugeMetricFamily("ganserve_webhook_pending", "Deliveries that wait for an attempt.")
        oldest = GaugeMetricFamily(
            "ganserve_webhook_oldest_due_seconds", "How long the delivery that is due longest has been due."
        )
        try:
            count, late_s = self._store.waiting()
            pending.add_metric((), count)
            oldest.add_metric((), late_s)
        except Transient:
            log.warning("the deliveries could not be counted: the database did not answer")
        yield from (pending, oldest)

    def describe(self) -> list[Metric]:
        return []  # registering must not ask the database
