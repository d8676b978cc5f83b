"""The gateway goes on with its caller's trace, tells which it is, and leaves it in the job's row."""

import structlog
from starlette.testclient import TestClient

from jobs import tracing
from jobs.settings import DEFAULT_TENANT
from jobs.store import JobStore

from .conftest import Worker, generate

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_job_is_recorded_in_its_callers_trace(client: TestClient, store: JobStore) -> None:
    reply = client.post("/v1/jobs", json=generate(), headers={"traceparent": TRACEPARENT})
    told = tracing.read(reply.headers["traceresponse"])
    kept = tracing.read(store.get(DEFAULT_TENANT, reply.json()["id"]).traceparent)

    assert told is not None and kept is not None
    assert told.trace_id == kept.trace_id == TRACE
    assert told.span_id != SPAN


def test_6_8_43_a_malformed_traceparent_begins_a_new_trace(client: TestClient, store: JobStore) -> None:
    for bad in (f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{'0' * 16}-01", "x" * 4000):
        reply = client.post("/v1/jobs", json=generate(), headers={"traceparent": bad})
        told = tracing.read(reply.headers["traceresponse"])
        assert reply.status_code == 202 and told is not None and told.trace_id != TRACE


def test_two_traceparents_are_as_good_as_none(client: TestClient) -> None:
    reply = client.get("/healthz", headers=[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)])
    assert TRACE not in reply.headers["traceresponse"]


def test_every_answer_tells_its_trace_and_no_two_share_one_by_chance(client: TestClient) -> None:
    told = [
        tracing.read(client.get(path).headers["traceresponse"]) for path in ("/healthz", "/nope", "/v1/jobs")
    ]
    assert len({trace.trace_id for trace in told if trace}) == 3


def test_a_retry_goes_on_in_the_trace_of_who_asked_for_it(
    client: TestClient, store: JobStore, worker: Worker
) -> None:
    job_id = client.post("/v1/jobs", json=generate()).json()["id"]
    worker.fail(job_id)
    assert client.post(f"/v1/jobs/{job_id}/retry", headers={"traceparent": TRACEPARENT}).status_code == 202

    assert TRACE in (store.get(DEFAULT_TENANT, job_id).traceparent or "")


def test_a_request_leaves_one_line_with_what_it_was_about(client: TestClient) -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        job_id = client.post("/v1/jobs", json=generate()).json()["id"]
        client.get(f"/v1/jobs/{job_id}")
        client.get("/v1/jobs/nope")
    requests = [line for line in lines if line["event"] == "request"]

    assert [(line["route"], line["status"]) for line in requests] == [
        ("/v1/jobs", 202),
        ("/v1/jobs/{job_id}", 200),
        ("/v1/jobs/{job_id}", 404),
    ]
    assert [line.get("job") for line in requests] == [job_id, job_id, None]
    assert [line.get("problem") for line in requests] == [None, None, "not_found"]
    assert len({line["request_id"] for line in requests}) == 3
    assert {line["tenant"] for line in requests} == {DEFAULT_TENANT}
