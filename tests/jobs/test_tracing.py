"""Trace context as the W3C writes it, with and without OpenTelemetry."""

import asyncio
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import tracing
from jobs.tracing import Trace, read, span

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = Trace(TRACE, SPAN)


def test_the_example_of_the_standard_is_read_and_written():
    assert read(f"00-{TRACE}-{SPAN}-01") == PARENT
    assert PARENT.traceparent == f"00-{TRACE}-{SPAN}-01"
    assert read(f"00-{TRACE}-{SPAN}-00") == Trace(TRACE, SPAN, sampled=False)


@pytest.mark.parametrize(
    "malformed",
    [
        None,
        "",
        "x",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_a_malformed_header_is_no_trace(malformed):
    assert read(malformed) is None


def test_a_later_version_may_say_more():
    assert read(f"01-{TRACE}-{SPAN}-01-what") == PARENT


@given(st.text(max_size=80))
def test_no_header_makes_it_fail(text):
    found = read(text)
    assert found is None or read(found.traceparent) == found


def test_without_an_exporter_a_span_is_a_new_id_in_the_callers_trace():
    assert tracing.current() is None
    with span("request", kind="server", parent=PARENT) as request:
        here = tracing.current()
        assert here.trace_id == TRACE and here.span_id != SPAN
        request.set(anything=1)
        with span("inside"):
            assert tracing.current() == here
    assert tracing.current() is None


def test_what_enters_a_process_begins_a_trace_of_its_own():
    with span("a", kind="server"):
        first = tracing.current()
        with span("b", kind="consumer"):
            assert tracing.current().trace_id != first.trace_id
        assert tracing.current() == first


def test_tasks_and_threads_have_their_own_place():
    async def work(parent: Trace) -> tuple[str, str]:
        with span("x", kind="server", parent=parent):
            await asyncio.sleep(0)
            return tracing.current().trace_id, (await asyncio.to_thread(tracing.current)).trace_id

    async def both():
        other = Trace("ab" * 16, SPAN)
        return await asyncio.gather(work(PARENT), work(other))

    assert asyncio.run(both()) == [(TRACE, TRACE), ("ab" * 16, "ab" * 16)]


@pytest.fixture
def exported():
    """Spans by name, once they have ended."""
    memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    exporter, provider = memory.InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield lambda: {made.name: made for made in exporter.get_finished_spans()}
    tracing.use(None)
    provider.shutdown()


def test_spans_hang_under_one_another_and_under_the_callers(exported):
    with span("request", kind="server", parent=PARENT, job="job_1") as request:
        with span("submit"):
            header = tracing.traceparent()
        tracing.past("queue", time.time() - 5, time.time(), lane="fast")
        request.name("POST /v1/jobs")
        request.set(**{"http.response.status_code": 202})
    spans = exported()
    request, submit, queue = spans["POST /v1/jobs"], spans["submit"], spans["queue"]

    assert f"{request.context.trace_id:032x}" == TRACE and f"{request.parent.span_id:016x}" == SPAN
    assert submit.parent.span_id == queue.parent.span_id == request.context.span_id
    assert read(header).span_id == f"{submit.context.span_id:016x}"
    assert request.attributes == {"ganserve.job": "job_1", "http.response.status_code": 202}
    assert (queue.end_time - queue.start_time) / 1e9 == pytest.approx(5, abs=0.1)
    assert request.kind.name == "SERVER"


def test_a_failure_is_told_by_its_kind_and_not_by_its_message(exported):
    with pytest.raises(ValueError), span("work"):
        raise ValueError("the caller's own words")
    made = exported()["work"]

    assert made.status.status_code.name == "ERROR" and made.attributes["error.type"] == "ValueError"
    assert "own words" not in made.to_json()


def test_a_caller_that_does_not_sample_is_not_recorded_and_its_trace_goes_on(exported):
    with span("request", kind="server", parent=Trace(TRACE, SPAN, sampled=False)):
        assert tracing.current().trace_id == TRACE and not tracing.current().sampled
        assert tracing.traceparent().endswith("-00")
    assert exported() == {}


def test_what_is_not_recorded_still_has_an_id(exported):
    with span("probe", kind="server", recorded=False):
        assert tracing.current() is not None
    assert exported() == {}


def test_nothing_of_opentelemetry_is_loaded_where_no_endpoint_is_named():
    code = (
        "import sys; from jobs import tracing; tracing.set_up_traces('reaper');\n"
        "with tracing.span('x'): pass\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""}, cwd=".")
