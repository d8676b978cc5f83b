"""Traces: one for the way of a job from the HTTP request to its webhook, over all processes.

The context is W3C's (https://www.w3.org/TR/trace-context/): a trace id, which all spans of the way share, and
the id of the span at hand. Callers send theirs in `traceparent`; the gateway records the job's in its row,
from where worker and dispatcher take it, since messages are only hints.

Every request and every attempt has an id for its log lines, whatever is set up. Spans are exported where the
environment has `OTEL_EXPORTER_OTLP_ENDPOINT` and the extra `otel` is installed (OpenTelemetry); its other
`OTEL_*` variables work as its documentation says. Otherwise a span is an id at most, and costs as much.
"""

import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from jobs.metrics import SPANS_DROPPED, built_version

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool
ENTRIES = ("server", "consumer")  # where work enters a process: never under what its thread did before

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORT_S = 3.0  # for one batch, all tries: a process that ends waits no longer for a collector that is away
_HEADER = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trace:
    """A place in a trace."""

    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def read(traceparent: str | None) -> Trace | None:
    """What the header says; None for none, and for a malformed one, as the standard wants."""
    found = _HEADER.fullmatch(traceparent or "")
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return Trace(found["trace"], found["span"], bool(int(found["flags"], 16) & 1))


class Span:
    """What a block of code may tell of itself."""

    def set(self, **attributes: Value) -> None:
        """Attributes: ours get the prefix `ganserve.`, those with a dot in their name stay as they are."""

    def name(self, name: str) -> None:
        """A better name than at the beginning."""

    def fail(self, reason: str) -> None:
        """It did not go well. `reason`: a code, nothing that a caller wrote."""


_SILENT = Span()
_current: ContextVar[Trace | None] = ContextVar("trace", default=None)
_tracer: Any = None  # of OpenTelemetry, where spans are exported


def current() -> Trace | None:
    """The span at hand, of this task or thread."""
    return _current.get()


def traceparent() -> str | None:
    """The same as a header."""
    trace = _current.get()
    return None if trace is None else trace.traceparent


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: Trace | None = None,
    recorded: bool = True,
    **attributes: Value,
) -> Iterator[Span]:
    """A span around a block of code, under the one at hand or under `parent` from elsewhere.

    An exception that leaves the block marks it as failed. What is not `recorded` only has ids.
    """
    above = parent if kind in ENTRIES else parent or _current.get()
    if _tracer is not None and recorded:
        with _recorded(name, kind, parent, attributes) as made:
            yield made
    elif above is not None and parent is None:
        yield _SILENT
    else:
        trace = Trace(
            above.trace_id if above else secrets.token_hex(16),
            secrets.token_hex(8),
            above is None or above.sampled,
        )
        token = _current.set(trace)
        try:
            yield _SILENT
        finally:
            _current.reset(token)


def past(name: str, began_s: float, ended_s: float, **attributes: Value) -> None:
    """A span under the one at hand, of what is over already. Epoch seconds."""
    if _tracer is not None:
        made = _tracer.start_span(name, start_time=_ns(began_s), attributes=_full(attributes))
        made.end(_ns(max(began_s, ended_s)))


# --- with OpenTelemetry ----------------------------------------------------------------------------------


def set_up_traces(process: str) -> None:
    """Export this process's spans, where the environment says so."""
    if not any(map(os.environ.get, ENDPOINTS)) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("no traces are exported: the extra `otel` is not installed")
        return
    about = {"service.name": f"ganserve-{process}", "service.version": built_version()}
    provider = TracerProvider(resource=Resource.create(about))
    timeout_s = float(os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT", EXPORT_S))
    provider.add_span_processor(BatchSpanProcessor(_counted(OTLPSpanExporter(timeout=timeout_s))))
    use(provider)


def use(provider: Any) -> None:
    """Record spans with this `TracerProvider`; None: no more."""
    global _tracer
    _tracer = None if provider is None else provider.get_tracer("ganserve", built_version())


def _counted(exporter: Any) -> Any:
    """`exporter`, whose failures are counted."""
    export = exporter.export

    def counted(spans: Sequence[Any]) -> Any:
        result = export(spans)
        if result.name != "SUCCESS":
            SPANS_DROPPED.inc(len(spans))
        return result

    exporter.export = counted
    return exporter


@contextmanager
def _recorded(name: str, kind: Kind, parent: Trace | None, attributes: Mapping[str, Value]) -> Iterator[Span]:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind

    with _tracer.start_as_current_span(
        name,
        context=Context() if kind in ENTRIES and parent is None else parent and _context(parent),
        kind=SpanKind[kind.upper()],
        attributes=_full(attributes),
        record_exception=False,  # messages and stacks are for the log
        set_status_on_exception=False,
    ) as made:
        here = made.get_span_context()
        trace = Trace(f"{here.trace_id:032x}", f"{here.span_id:016x}", here.trace_flags.sampled)
        token, recorded = _current.set(trace), _Recorded(made)
        try:
            yield recorded
        except Exception as error:
            recorded.fail(type(error).__name__)
            raise
        finally:
            _current.reset(token)


class _Recorded(Span):
    def __init__(self, span: Any) -> None:
        self._span = span

    def set(self, **attributes: Value) -> None:
        self._span.set_attributes(_full(attributes))

    def name(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR, reason)
        self._span.set_attribute("error.type", reason)


def _context(parent: Trace) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    above = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(above))


def _full(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {name if "." in name else f"ganserve.{name}": value for name, value in attributes.items()}


def _ns(epoch_s: float) -> int:
    return round(epoch_s * 1e9)
