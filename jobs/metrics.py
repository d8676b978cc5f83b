"""What every process of the service measures, in Prometheus' format: its database, blobs, broker, and itself.

A process's own measures are beside its code (`api.metrics`, `workers.metrics`), on the same registry where
they belong to the process and not to one application in it. docs/metrics.md lists them all, and a test
compares. Labels never hold what a caller sends, nor a tenant.
"""

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from jobs.errors import BlobsUnavailable

Call = TypeVar("Call", bound=Callable[..., Any])

SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LONG_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)

disable_created_metrics()
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

DATABASE_SECONDS = Histogram(
    "ganserve_database_seconds", "One transaction.", ("mode",), buckets=SHORT_S, registry=REGISTRY
)
DATABASE_ERRORS = Counter(
    "ganserve_database_errors", "Transactions that the database did not answer.", registry=REGISTRY
)
BLOB_SECONDS = Histogram(
    "ganserve_blob_seconds", "One call of object storage.", ("operation",), buckets=SHORT_S, registry=REGISTRY
)
BLOB_ERRORS = Counter(
    "ganserve_blob_errors", "Calls that object storage did not answer.", ("operation",), registry=REGISTRY
)
SENDS = Counter("ganserve_sends", "Messages that tell workers of a job.", ("outcome",), registry=REGISTRY)
LIVE_EVENTS = Counter("ganserve_live_events", "Progress and previews.", ("outcome",), registry=REGISTRY)
SPANS_DROPPED = Counter("ganserve_spans_dropped", "Spans that could not be exported.", registry=REGISTRY)


class Process(Collector):
    """Which process this is, and how long ago each of its loops gave a sign of life."""

    def __init__(self, name: str, ages_s: Callable[[], Mapping[str, float]] = dict) -> None:
        self._name, self._ages_s = name, ages_s

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("ganserve_build_info", "Always 1.", labels=("version", "process"))
        build.add_metric((built_version(), self._name), 1)
        ages = GaugeMetricFamily(
            "ganserve_loop_age_seconds", "Since the loop last gave a sign of life.", labels=("loop",)
        )
        for loop, age_s in self._ages_s().items():
            ages.add_metric((loop,), age_s)
        yield from (build, ages)

    def describe(self) -> list[Metric]:
        return []


@functools.cache
def built_version() -> str:
    """Of the installed package; `source` where it runs from a checkout."""
    try:
        return version("ganserve")
    except PackageNotFoundError:
        return "source"


def timed_blobs(operation: str) -> Callable[[Call], Call]:
    """Decorator for a method of a blob store: its seconds, and the errors of a store that does not answer.

    Of a generator only the errors are counted: its time is its reader's.
    """
    seconds, errors = BLOB_SECONDS.labels(operation), BLOB_ERRORS.labels(operation)

    def decorate(call: Call) -> Call:
        @functools.wraps(call)
        def function(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **kwargs)
            except BlobsUnavailable:
                errors.inc()
                raise
            finally:
                seconds.observe(time.perf_counter() - began)

        @functools.wraps(call)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from call(*args, **kwargs)
            except BlobsUnavailable:
                errors.inc()
                raise

        return cast(Call, generator if inspect.isgeneratorfunction(call) else function)

    return decorate
