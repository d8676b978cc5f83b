"""Bad input gets its 4xx and its code, leaves nothing behind, and never meets a 500.

The numbers are those of the project's list of bad inputs. Those of framing (6.8.21 to 27) need a real server
and stand in `test_framing`.
"""

import json
import re

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.submission import parse
from jobs.blobs.directory import DirectoryBlobStore
from jobs.queue import MemoryJobQueue
from jobs.settings import Settings
from jobs.store import ImageRow, JobStore

from .bad_input import ABSENT, CASES, UNKNOWN_IMAGE, UNKNOWN_JOB, Case
from .conftest import Worker, generate, png, submit


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.what}")
def test_bad_input_is_refused_and_leaves_nothing(
    case: Case,
    client: TestClient,
    store: JobStore,
    queue: MemoryJobQueue,
    blobs: DirectoryBlobStore,
    settings: Settings,
) -> None:
    reply = case.send(client)

    assert_problem(reply, *case.answer)
    assert store.list("default") == []
    assert queue.sent == []
    assert not [path for path in settings.work_dir.rglob("*") if path.is_file()]


def test_there_are_at_least_ninety_cases() -> None:
    assert len(CASES) >= 90


def assert_problem(reply: Response, status: int, code: str) -> None:
    """A problem document as it should be, which tells nothing of the machine."""
    assert (reply.status_code, reply.json().get("code")) == (status, code), reply.text[:500]
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert body["status"] == status
    assert body["type"].endswith(f"/errors/{code}")
    assert body["request_id"] == reply.headers["x-request-id"]
    assert len(reply.content) < 20_000
    assert "access-control-allow-origin" not in reply.headers
    assert_no_leak(reply.text)


def assert_no_leak(text: str) -> None:
    leaks = re.search(
        r"Traceback|site-packages|\.py\b|/tmp/|/work|/home|/root|sqlite|sqlalchemy|pydantic", text
    )
    assert leaks is None, leaks


# --- cases with a history --------------------------------------------------------------------------------


def test_6_1_33_metadata_is_stored_in_normal_form(client: TestClient) -> None:
    assert submit(client, metadata={"name": "e\u0301"})["metadata"] == {"name": "\u00e9"}


def test_6_1_42_a_filename_is_never_a_path(client: TestClient, settings: Settings) -> None:
    files = {"file": ("../../../etc/passwd", png(), "image/png")}
    assert client.post("/v1/images", files=files).status_code == 201
    assert not list(settings.work_dir.rglob("*passwd*"))


@pytest.mark.parametrize("header", [{"Range": "bytes=0-3"}, {"Accept-Encoding": "gzip;q=1," * 500}])
def test_6_8_28_and_32_range_and_encodings_are_ignored_for_json(
    client: TestClient, header: dict[str, str]
) -> None:
    assert client.get("/v1/models", headers=header).json()["data"]


def test_6_8_29_many_overlapping_ranges_do_not_multiply_the_answer(
    client: TestClient, worker: Worker
) -> None:
    job_id = submit(client)["id"]
    worker.succeed(job_id, {"a.png": bytes(10_000)})
    url = client.get(f"/v1/jobs/{job_id}").json()["outputs"][0]["url"]
    reply = client.get(url, headers={"Range": "bytes=" + ",".join(["0-9999"] * 100)})
    assert reply.status_code in (200, 206, 416)
    assert len(reply.content) < 20_000


def test_6_8_30_a_weak_tag_that_matches_is_not_modified(client: TestClient) -> None:
    tag = client.get("/v1/models/faces/samples.png").headers["etag"]
    reply = client.get("/v1/models/faces/samples.png", headers={"If-None-Match": f'"x", W/{tag}'})
    assert (reply.status_code, reply.content) == (304, b"")


def test_6_8_40_a_key_with_another_body_is_refused(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert client.post("/v1/jobs", json=generate(), headers=headers).status_code == 202
    reply = client.post("/v1/jobs", json=generate(priority="low"), headers=headers)
    assert_problem(reply, 422, "idempotency_key_reused")


def test_6_8_43_a_malformed_traceparent_is_no_error(client: TestClient) -> None:
    reply = client.post("/v1/jobs", json=generate(), headers={"traceparent": "00-zz-zz-1"})
    assert reply.status_code == 202


@pytest.mark.parametrize("given", ["a" * 10_000, "a b", "a;b", ""])
def test_6_8_44_an_odd_request_id_is_replaced(client: TestClient, given: str) -> None:
    reply = client.get("/healthz", headers={"X-Request-Id": given})
    assert re.fullmatch(r"req_[0-9A-Z]{26}", reply.headers["x-request-id"])


def test_a_plain_request_id_comes_back(client: TestClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"


def test_6_8_20_links_do_not_follow_the_callers_headers(client: TestClient) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Host": "localhost:1"}
    reply = client.post("/v1/jobs", json=generate(), headers=headers)
    assert reply.headers["location"].startswith("http://127.0.0.1:8000/v1/jobs/")


@pytest.fixture
def foreign(store: JobStore) -> tuple[str, str]:
    """A job and an image of another tenant."""
    row, _ = store.submit("other", parse(json.dumps(generate()).encode()))
    image = "img_" + "1" * 64
    store.put_image("other", ImageRow(image, "t/other/i/1.png", 32, 32, "image/png", 9, "1" * 64))
    return row.id, image


@pytest.mark.parametrize(
    ("number", "method", "path"),
    [
        ("6.6.4", "GET", "/v1/jobs/{job}"),
        ("6.6.4", "GET", "/v1/jobs/{job}?wait=5"),
        ("6.6.4", "GET", "/v1/jobs/{job}/events"),
        ("6.6.5", "DELETE", "/v1/jobs/{job}"),
        ("6.6.6", "POST", "/v1/jobs/{job}/cancel"),
        ("6.6.6", "POST", "/v1/jobs/{job}/retry"),
        ("6.6.4", "GET", "/v1/images/{image}"),
        ("6.6.4", "GET", "/v1/images/{image}/content"),
    ],
)
def test_6_6_another_tenants_things_are_as_absent_as_unknown_ones(
    client: TestClient, foreign: tuple[str, str], number: str, method: str, path: str
) -> None:
    job_id, image = foreign
    theirs = client.request(method, path.format(job=job_id, image=image))
    unknown = client.request(method, path.format(job=UNKNOWN_JOB, image=UNKNOWN_IMAGE))
    assert_problem(theirs, *ABSENT)
    shown = [reply.json() | {"request_id": "", "detail": ""} for reply in (theirs, unknown)]
    assert shown[0] == shown[1]


def test_6_6_8_and_9_another_tenants_things_cannot_be_used(
    client: TestClient, foreign: tuple[str, str]
) -> None:
    job_id, image = foreign
    invert = client.post("/v1/jobs", json=generate(kind="invert", input={"images": [image]}))
    assert_problem(invert, 422, "unknown_image")
    source = {"artifact": {"job": job_id, "name": "a.png"}}
    assert_problem(client.post("/v1/jobs", json=generate(input={"source": source})), 422, "unknown_artifact")
    assert client.get("/v1/jobs").json()["data"] == []


def test_errors_name_fields_and_never_repeat_what_was_sent(client: TestClient) -> None:
    secret = "hunter2" * 2000
    reply = client.post("/v1/jobs", json=generate(kind=secret, input={secret: secret, "psi": secret}))
    assert reply.status_code == 422
    assert len(reply.content) < 4000
    reply = client.post("/v1/jobs", json=generate(input={"psi": "hunter2"}))
    assert reply.json()["errors"] == [
        {"path": "input.psi", "message": "Input should be a valid number", "type": "float_type"}
    ]
    assert "hunter2" not in reply.text


def test_405_lists_every_method_of_the_address(client: TestClient) -> None:
    assert client.put("/v1/jobs").headers["allow"] == "GET, HEAD, POST"
