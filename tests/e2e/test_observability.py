"""What operators see of the running service: its log, its traces, its metrics, and whether it lives."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from .collector import Collector, collector
from .conftest import MODEL
from .stack import ROOT, Stack, eventually

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LIVENESS_S = 5
PROCESSES = ("gateway", "reaper", "dispatcher", "worker1")
WISH = {"who": "zebra"}  # must be in no log


@pytest.fixture(scope="module")
def traces() -> Iterator[tuple[Collector, str]]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    with collector() as made:
        yield made


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, model_repo: Path, traces: tuple[Collector, str]
) -> Iterator[Stack]:
    """A service that exports its traces, with a worker that can be made to hang."""
    environment = {
        "GANSERVE_LIVENESS_S": str(LIVENESS_S),
        "GANSERVE_PRELOAD": MODEL,
        "GANSERVE_WEBHOOK_LOOPBACK": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": traces[1],
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    stack = Stack(tmp_path_factory.mktemp("watched"), model_repo, environment)
    try:
        stack.start()
        stack.start_dispatcher()
        stack.add_worker("tests.e2e.obstinate_worker")
        yield stack
    finally:
        stack.close()


@pytest.fixture
def receiver() -> Iterator[tuple[list[dict[str, str]], str]]:
    """The headers of what it was sent, and its address."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            received.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield received, f"http://127.0.0.1:{server.server_address[1]}/hook"
        server.shutdown()


def submit(stack: Stack, webhook: str | None = None, **headers: str) -> httpx.Response:
    request = {"kind": "generate", "model": MODEL, "input": {"source": {"seeds": [7]}}, "metadata": WISH}
    if webhook is not None:
        request["webhook"] = {"url": webhook}
    reply = httpx.post(f"{stack.url}/v1/jobs", json=request, headers=headers, timeout=30)
    assert reply.status_code == 202, reply.text
    return reply


def finish(stack: Stack, job_id: str) -> None:
    with stack.client() as client:
        assert client.wait(job_id, timeout_s=60).status == "succeeded"


def run(stack: Stack, **headers: str) -> str:
    """The id of a job that has ended."""
    job_id: str = submit(stack, **headers).json()["id"]
    finish(stack, job_id)
    return job_id


def health(stack: Stack, name: str, path: str = "healthz") -> tuple[int, dict[str, str]]:
    reply = httpx.get(f"{stack.operations[name]}/{path}", timeout=10)
    return reply.status_code, reply.json()["checks"]


def lines(stack: Stack, name: str) -> list[dict[str, object]]:
    """Every line of the process's log."""
    return [json.loads(line) for line in stack.log_path(name).read_text().splitlines()]


def having(found: list[dict[str, object]], **wanted: object) -> list[dict[str, object]]:
    return [line for line in found if wanted.items() <= line.items()]


# --- traces ----------------------------------------------------------------------------------------------


def test_a_job_is_one_trace_from_the_callers_request_to_its_webhook(
    watched: Stack, traces: tuple[Collector, str], receiver: tuple[list[dict[str, str]], str]
) -> None:
    reply = submit(watched, receiver[1], traceparent=f"00-{TRACE}-{CALLER}-01")
    job_id = reply.json()["id"]
    assert reply.headers["traceresponse"].startswith(f"00-{TRACE}-")
    finish(watched, job_id)
    work = {"queue", "engine forward", "storage", "publish"}
    wanted = {"POST /v1/jobs", "submit", "send", "run generate", "webhook"} | work
    eventually(lambda: wanted <= traces[0].of_trace(TRACE).keys(), 15)
    spans = traces[0].of_trace(TRACE)
    parents = {name: span.parent_id for name, span in spans.items()}

    assert spans.keys() == wanted
    assert parents["POST /v1/jobs"] == CALLER
    assert parents["submit"] == parents["send"] == spans["POST /v1/jobs"].span_id
    assert parents["run generate"] == parents["webhook"] == spans["submit"].span_id
    assert [sent["traceparent"] for sent in receiver[0]] == [f"00-{TRACE}-{spans['webhook'].span_id}-01"]
    assert {parents[name] for name in work} == {spans["run generate"].span_id}
    services = [spans[name].service for name in ("submit", "publish", "webhook")]
    assert services == ["ganserve-gateway", "ganserve-worker", "ganserve-dispatcher"]
    assert spans["run generate"].attributes["ganserve.job"] == job_id
    assert spans["engine forward"].attributes["ganserve.units"] == 1  # mapping and painting together
    assert spans["storage"].attributes["ganserve.files"] == 1
    assert not any(span.failed for span in spans.values())


def test_a_malformed_traceparent_begins_a_new_trace(watched: Stack) -> None:
    malformed = f"00-{TRACE}-{CALLER}-"
    found = [submit(watched, traceparent=malformed).headers["traceresponse"] for _ in range(2)]
    ids = {match[1] for text in found if (match := re.fullmatch(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01", text))}
    assert len(ids | {TRACE}) == 3


# --- logs ------------------------------------------------------------------------------------------------


def test_every_line_of_every_process_is_json_and_carries_its_context(watched: Stack) -> None:
    trace_id, request_id = "ab" * 16, "req-of-this-test"
    job_id = run(watched, **{"traceparent": f"00-{trace_id}-{CALLER}-01", "x-request-id": request_id})
    about = {"event": "attempt", "job": job_id, "tenant": "default", "trace_id": trace_id}
    eventually(lambda: having(lines(watched, "worker1"), **about), 10)

    for name in PROCESSES:
        for line in lines(watched, name):
            assert {"timestamp", "level", "logger", "event", "process"} <= line.keys(), line
            assert line["process"] == name.rstrip("1")
    [access] = having(lines(watched, "gateway"), request_id=request_id)
    asked = {"event": "request", "method": "POST", "route": "/v1/jobs", "status": 202}
    assert (asked | {"job": job_id, "trace_id": trace_id}).items() <= access.items()
    [ran] = having(lines(watched, "worker1"), **about)
    assert (ran["attempt"], ran["kind"], ran["outcome"]) == (1, "generate", "succeeded")
    assert ":" in str(ran["worker"])


def test_no_log_has_a_signature_a_secret_or_what_callers_wrote(watched: Stack) -> None:
    with watched.client() as client:
        url = client.get(run(watched)).outputs[0].url
    assert url is not None and httpx.get(url, timeout=10).status_code == 200
    text = "".join(watched.log_path(name).read_text() for name in PROCESSES)

    secrets = (watched.environment["GANSERVE_URL_SECRET"], "signature=", *WISH.values())
    assert [secret for secret in secrets if secret in text] == []


# --- metrics ---------------------------------------------------------------------------------------------


def test_every_process_exports_documented_metrics_only_and_counts_the_way_of_a_job(watched: Stack) -> None:
    run(watched)
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    values = {}
    for name in PROCESSES:
        text = httpx.get(f"{watched.operations[name]}/metrics", timeout=10).text
        for family in text_string_to_metric_families(text):
            assert {family.name, f"{family.name}_total"} & documented, family.name
            values |= {(name, s.name, *s.labels.values()): s.value for s in family.samples}

    assert values["gateway", "ganserve_jobs_submitted_total", "generate", "normal"] >= 1
    assert values["gateway", "ganserve_submit_seconds_count"] >= 1
    assert values["worker1", "ganserve_claims_total", "claimed"] >= 1
    assert values["worker1", "ganserve_job_run_seconds_count", "generate", "succeeded"] >= 1
    assert values["worker1", "ganserve_engine_step_seconds_count", "forward"] >= 2
    assert values["worker1", "ganserve_upload_seconds_count"] >= 1
    assert values["worker1", "ganserve_worker_slots"] == 16
    assert values["worker1", "ganserve_models_loaded"] == 1
    assert values["reaper", "ganserve_reaper_tick_seconds_count"] >= 1
    assert httpx.get(f"{watched.url}/metrics", timeout=10).status_code == 404


# --- health ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_at_work_is_live_and_ready(watched: Stack, name: str) -> None:
    assert eventually(lambda: health(watched, name) == (200, {}), 20)
    assert eventually(lambda: health(watched, name, "readyz") == (200, {}), 20)


def test_a_blocked_engine_step_turns_liveness_red_and_its_end_turns_it_green(watched: Stack) -> None:
    block = watched.folder / "engine.blocked"
    block.touch()
    job_id = submit(watched).json()["id"]
    try:
        assert eventually(lambda: "engine" in health(watched, "worker1")[1], 4 * LIVENESS_S)
        status, silent = health(watched, "worker1")
        assert status == 503 and silent.keys() == {"engine"}  # the consumer goes on
    finally:
        block.unlink()
    finish(watched, job_id)
    assert eventually(lambda: health(watched, "worker1") == (200, {}), 10)


def test_a_consumer_that_goes_round_and_asks_for_nothing_turns_liveness_red(watched: Stack) -> None:
    silent = watched.folder / "consumer.silent"
    silent.touch()
    try:
        assert eventually(lambda: "poll" in health(watched, "worker1")[1], 4 * LIVENESS_S)
        assert health(watched, "worker1")[0] == 503
    finally:
        silent.unlink()
    assert eventually(lambda: health(watched, "worker1") == (200, {}), 10)


def test_a_broker_that_is_down_leaves_all_alive_and_the_gateway_degraded(watched: Stack) -> None:
    watched.redis.kill()
    try:
        job_id = submit(watched).json()["id"]
        assert httpx.get(f"{watched.url}/readyz", timeout=10).json()["status"] == "degraded"
        assert not eventually(lambda: health(watched, "worker1")[0] != 200, 2 * LIVENESS_S)
    finally:
        watched.redis.start()
    finish(watched, job_id)


def test_a_frozen_process_has_no_health(watched: Stack) -> None:
    watched.send_signal("reaper", signal.SIGSTOP)
    try:
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{watched.operations['reaper']}/healthz", timeout=1)
    finally:
        watched.send_signal("reaper", signal.SIGCONT)
    assert eventually(lambda: health(watched, "reaper") == (200, {}), 20)
