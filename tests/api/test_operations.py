import json
import re
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.app import describe
from api.openapi import document
from jobs.blobs.directory import DirectoryBlobStore
from jobs.catalog import Catalog
from jobs.queue import MemoryJobQueue
from jobs.settings import Settings
from jobs.store import JobStore

from .conftest import BASE, Worker, submit
from .test_bad_input import assert_problem

ROOT = Path(__file__).parents[2]


def test_health_asks_nothing_of_anyone(client: TestClient, store: JobStore) -> None:
    store.close()
    assert client.get("/healthz").json() == {"status": "ok"}


def test_readiness_names_every_check(client: TestClient) -> None:
    checks = {"blobs": "ok", "broker": "ok", "catalog": "ok", "database": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "checks": checks}


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        (JobStore, "ping", "database"),
        (DirectoryBlobStore, "ping", "blobs"),
        (Catalog, "list", "catalog"),
    ],
)
def test_readiness_is_503_when_a_part_fails(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, part: type, method: str, name: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("/secret/place is broken")

    monkeypatch.setattr(part, method, fail)
    reply = client.get("/readyz")
    assert_problem(reply, 503, "unavailable")
    assert name in reply.json()["detail"]
    assert int(reply.headers["retry-after"]) > 0


def test_without_the_broker_jobs_are_accepted_and_readiness_says_degraded(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(MemoryJobQueue, "ping", fail)
    reply = client.get("/readyz")
    assert reply.status_code == 200
    assert reply.json()["status"] == "degraded" and reply.json()["checks"]["broker"] == "failed"
    submit(client)


def test_a_part_that_hangs_is_no_answer_after_two_seconds_and_is_not_asked_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = [], threading.Event()

    def hang(*_: Any) -> None:
        asked.append(1)
        answer.wait(30)

    monkeypatch.setattr(DirectoryBlobStore, "ping", hang)
    for _ in range(2):
        assert client.get("/readyz").status_code == 503
    assert len(asked) == 1
    answer.set()


def sample(client: TestClient, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(client.get("/metrics").text)
    [value] = [
        s.value
        for family in families
        for s in family.samples
        if s.name == name and labels.items() <= s.labels.items()
    ]
    return value


def test_metrics_count_requests_by_route_and_never_by_path(client: TestClient) -> None:
    for _ in range(3):
        client.get("/v1/jobs/nope")
    client.request("BREW", "/nowhere/at/all")
    labels = {"method": "GET", "route": "/v1/jobs/{job_id}", "status": "404"}
    assert sample(client, "ganserve_http_request_seconds_count", **labels) == 3
    assert sample(client, "ganserve_http_request_seconds_count", method="other", route="unmatched") == 1
    assert "nope" not in client.get("/metrics").text


def test_problems_are_counted_by_their_code(client: TestClient) -> None:
    client.get("/v1/jobs/nope")
    client.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"})
    assert sample(client, "ganserve_http_problems_total", code="not_found") == 1
    assert sample(client, "ganserve_http_problems_total", code="malformed_json") == 1


def test_where_operations_have_a_port_of_their_own_callers_see_no_metrics(
    make_app: Callable[..., FastAPI], settings: Settings
) -> None:
    app = make_app()
    app.state.settings = settings.model_copy(update={"metrics_port": 9})
    with TestClient(app, base_url=BASE) as client:
        assert_problem(client.get("/metrics"), 404, "not_found")
        assert b"ganserve_queue_jobs" in app.state.operations.answer("/metrics")[2]
        assert app.state.operations.answer("/healthz")[0] == 200


def test_a_blocked_event_loop_is_not_live(make_app: Callable[..., FastAPI], settings: Settings) -> None:
    app = make_app()
    with TestClient(app, base_url=BASE) as client:
        client.get("/healthz")
        assert list(app.state.liveness.ages_s()) == ["gateway"]
        app.state.liveness.limit_s = -1
        assert app.state.operations.answer("/healthz")[0] == 503


def test_metrics_show_the_queue(client: TestClient, worker: Worker) -> None:
    jobs = [submit(client)["id"] for _ in range(3)]
    worker.claim(jobs[0])
    assert sample(client, "ganserve_queue_jobs", lane="1-normal.fast") == 2
    assert sample(client, "ganserve_queue_jobs", lane="0-high.fast") == 0
    assert sample(client, "ganserve_jobs_running") == 1
    assert sample(client, "ganserve_queue_oldest_seconds") >= 0
    assert sample(client, "ganserve_jobs_submitted_total", kind="generate") == 3


def test_metrics_survive_a_database_that_is_down(
    client: TestClient, store: JobStore, settings: Settings
) -> None:
    from jobs.errors import StoreUnavailable

    def fail() -> None:
        raise StoreUnavailable

    store.depths = fail  # type: ignore[method-assign, assignment]
    assert client.get("/metrics").status_code == 200


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "action")]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_no_other_host_and_run_only_their_own_scripts(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert reply.headers["content-type"].startswith("text/html")
    links = Links()
    links.feed(reply.text)
    assert links.found
    assert not [link for link in links.found if "//" in link]
    policy = reply.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.count("sha256-") == len(re.findall("<(?:script|style)>", reply.text))
    assert not re.search(r"\son\w+=|javascript:", reply.text)


def test_every_call_is_in_the_docs(client: TestClient) -> None:
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page


def test_every_error_type_leads_somewhere(client: TestClient) -> None:
    problem = client.get("/nope").json()
    assert client.get(problem["type"]).json() == {"code": "not_found", "status": 404, "title": "Not found"}
    assert client.get("/errors/nope").status_code == 404


def test_the_committed_openapi_document_is_what_the_routes_say() -> None:
    """Refresh it with `python -m api.openapi > docs/openapi.json`."""
    committed = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert committed == json.loads(json.dumps(document(describe())))


def test_the_openapi_document_has_no_loose_ends() -> None:
    made = document(describe())
    text = json.dumps(made)
    schemas = made["components"]["schemas"]
    assert {ref for ref in re.findall(r'"#/components/schemas/([^"]+)"', text)} <= set(schemas)
    ids = [op["operationId"] for path in made["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))
    assert "HTTPValidationError" not in text
    assert set(made["paths"]["/v1/jobs"]) == {"get", "post"}
