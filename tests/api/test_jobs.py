import base64
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from jobs.blobs.directory import DirectoryBlobStore
from jobs.errors import StoreUnavailable
from jobs.live import MemoryLive
from jobs.queue import MemoryJobQueue
from jobs.schemas import JobView, Status
from jobs.store import JobStore

from .conftest import BASE, Worker, generate, meanwhile, png, sent, submit
from .test_bad_input import assert_problem

# --- submit ----------------------------------------------------------------------------------------------


def test_submit_records_the_job_sends_it_and_says_where_to_poll(
    client: TestClient, queue: MemoryJobQueue, store: JobStore
) -> None:
    reply = client.post("/v1/jobs", json=generate(priority="high"))

    assert reply.status_code == 202
    job = JobView.model_validate_json(reply.content)
    assert (job.status, job.terminal, job.seq) == (Status.QUEUED, False, 1)
    assert reply.headers["location"] == job.urls.self == f"{BASE}/v1/jobs/{job.id}"
    assert client.get(job.urls.self).json() == reply.json()
    assert sent(queue, 1) == [(job.id, "generate", store.get("default", job.id).lane)]


def test_the_input_comes_back_with_every_default_filled_in(client: TestClient) -> None:
    job = submit(client, input={"source": {"seeds": "0-2"}})
    assert job["input"]["source"]["seeds"] == "0-2"
    assert (job["input"]["psi"], job["input"]["class"], job["output"]["format"]) == (0.7, None, "png")


def test_a_broker_that_is_down_keeps_nobody_from_submitting(
    client: TestClient, queue: MemoryJobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "send", lambda *_: False)
    assert client.post("/v1/jobs", json=generate()).status_code == 202


def test_a_broker_that_hangs_delays_no_answer(
    client: TestClient, queue: MemoryJobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(queue, "send", lambda *_: released.wait(20))
    try:
        for _ in range(12):  # more than there are threads for sending
            submit(client)
        assert client.get("/healthz").status_code == 200
    finally:
        released.set()


def test_a_database_that_is_down_is_503_with_retry_after(
    client: TestClient, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("postgresql://user@db.internal refused the connection")

    monkeypatch.setattr(store, "submit", fail)
    reply = client.post("/v1/jobs", json=generate())
    assert_problem(reply, 503, "unavailable")
    assert int(reply.headers["retry-after"]) > 0
    assert "internal" not in reply.text


def test_an_unforeseen_error_is_a_500_that_tells_nothing(
    client: TestClient, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(store, "get", fail)
    reply = client.get("/v1/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert_problem(reply, 500, "internal_error")
    assert "secret" not in reply.text


def test_a_full_queue_is_429_with_retry_after(client: TestClient) -> None:
    for _ in range(20):
        submit(client)
    reply = client.post("/v1/jobs", json=generate())
    assert_problem(reply, 429, "queue_full")
    assert int(reply.headers["retry-after"]) > 0


# --- waiting ---------------------------------------------------------------------------------------------


def test_prefer_wait_gives_200_when_the_job_ends_in_time(
    client: TestClient, store: JobStore, live: MemoryLive, worker: Worker
) -> None:
    def work() -> None:
        [row] = store.list("default")
        worker.succeed(row.id, {"a.png": png()})
        live.publish(row.id, {"type": "state"})

    with meanwhile(client, work):
        reply = client.post("/v1/jobs", json=generate(), headers={"Prefer": "wait=30"})
    assert (reply.status_code, reply.json()["status"]) == (200, "succeeded")
    assert reply.headers["preference-applied"] == "wait=30"
    assert reply.json()["outputs"][0]["name"] == "a.png"


def test_who_waits_is_told_of_the_end_though_only_progress_is_heard(
    client: TestClient, store: JobStore, live: MemoryLive, worker: Worker
) -> None:
    answered = threading.Event()

    def work() -> None:
        [row] = store.list("default")
        worker.succeed(row.id)  # and the event that tells of it is lost
        while not answered.wait(0.1):
            live.publish(row.id, {"type": "progress", "progress": {"value": 1}})

    with meanwhile(client, work):
        reply = client.post("/v1/jobs", json=generate(), headers={"Prefer": "wait=30"})
        answered.set()
    assert (reply.status_code, reply.json()["status"]) == (200, "succeeded")


@pytest.mark.parametrize(
    "preference", ["wait=1", "respond-async, wait=1", 'handling=strict; wait="1"', "Wait = 1"]
)
def test_prefer_wait_gives_202_when_the_job_takes_longer(client: TestClient, preference: str) -> None:
    reply = client.post("/v1/jobs", json=generate(), headers={"Prefer": preference})
    assert (reply.status_code, reply.json()["status"]) == (202, "queued")
    assert reply.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize("preference", ["wait=soon", "respond-async", "await=5", "wait=-1", ""])
def test_a_preference_that_is_not_understood_is_none(client: TestClient, preference: str) -> None:
    reply = client.post("/v1/jobs", json=generate(), headers={"Prefer": preference})
    assert reply.status_code == 202
    assert "preference-applied" not in reply.headers


def test_a_long_poll_returns_when_the_job_ends(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    with meanwhile(client, lambda: worker.succeed(job_id)):
        reply = client.get(f"/v1/jobs/{job_id}?wait=30")
    assert reply.json()["status"] == "succeeded"


def test_a_long_poll_with_after_seq_returns_at_the_next_change(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    with meanwhile(client, lambda: worker.claim(job_id)):
        reply = client.get(f"/v1/jobs/{job_id}?wait=30&after_seq=1")
    assert (reply.json()["status"], reply.json()["seq"]) == ("running", 2)


def test_a_long_poll_returns_at_once_when_there_is_news(client: TestClient) -> None:
    job_id = submit(client)["id"]
    assert client.get(f"/v1/jobs/{job_id}?wait=60&after_seq=0").json()["seq"] == 1


def test_a_long_poll_returns_the_job_as_it_is_when_time_is_up(client: TestClient) -> None:
    job_id = submit(client)["id"]
    assert client.get(f"/v1/jobs/{job_id}?wait=1").json()["status"] == "queued"


def test_waiting_callers_are_bounded(make_app: Callable[..., FastAPI]) -> None:
    with TestClient(make_app(max_streams=0), base_url=BASE) as client:
        job_id = submit(client)["id"]
        reply = client.get(f"/v1/jobs/{job_id}?wait=5")
        assert_problem(reply, 429, "too_many_streams")
        assert client.post("/v1/jobs", json=generate(), headers={"Prefer": "wait=5"}).status_code == 202


# --- Idempotency-Key -------------------------------------------------------------------------------------


def test_a_key_replays_the_first_job(client: TestClient, queue: MemoryJobQueue) -> None:
    headers = {"Idempotency-Key": "order 66"}
    first = client.post("/v1/jobs", json=generate(), headers=headers)
    again = client.post("/v1/jobs", json=generate(), headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(sent(queue, 1)) == 1


def test_the_same_request_written_differently_is_the_same(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    bodies = ['{"kind":"generate","model":"faces"}', '{ "model": "faces", "input": {}, "kind": "generate" }']
    replies = [client.post("/v1/jobs", content=body, headers=headers) for body in bodies]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json()["id"] == replies[1].json()["id"]


def test_fifty_parallel_posts_with_one_key_make_one_job(
    client: TestClient, store: JobStore, queue: MemoryJobQueue
) -> None:
    def post(_: int) -> str:
        reply = client.post("/v1/jobs", json=generate(), headers={"Idempotency-Key": "k"})
        assert reply.status_code == 202
        return reply.text

    with ThreadPoolExecutor(16) as pool:
        bodies = set(pool.map(post, range(50)))
    assert len(bodies) == 1
    assert len(store.list("default")) == 1
    assert len(sent(queue, 1)) == 1


def test_a_refused_request_does_not_use_its_key_up(client: TestClient) -> None:
    headers = {"Idempotency-Key": "k"}
    assert client.post("/v1/jobs", json=generate(model="nope"), headers=headers).status_code == 422
    assert client.post("/v1/jobs", json=generate(), headers=headers).status_code == 202


# --- sources ---------------------------------------------------------------------------------------------


def test_an_output_of_an_earlier_job_can_be_the_source(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    source = {"artifact": {"job": job_id, "name": "a.png"}}
    early = client.post("/v1/jobs", json=generate(input={"source": source}))
    assert_problem(early, 422, "unknown_artifact")
    worker.succeed(job_id, {"a.png": png()})
    assert client.post("/v1/jobs", json=generate(input={"source": source})).status_code == 202


def test_an_uploaded_picture_can_be_inverted_and_edited(client: TestClient) -> None:
    image = client.post("/v1/images", content=png(), headers={"Content-Type": "image/png"}).json()["id"]
    invert = {"kind": "invert", "model": "faces", "input": {"images": [image]}}
    assert client.post("/v1/jobs", json=invert).status_code == 202
    operations = [{"op": "direction", "name": "smile", "strength": 2.0}]
    edit = {
        "kind": "edit",
        "model": "faces",
        "input": {"source": {"images": [image]}, "operations": operations},
    }
    assert client.post("/v1/jobs", json=edit).status_code == 202


# --- answers ---------------------------------------------------------------------------------------------


def test_outputs_are_inline_when_asked_for_and_small(
    client: TestClient, worker: Worker, blobs: DirectoryBlobStore
) -> None:
    job_id = submit(client, output={"inline": True})["id"]
    worker.succeed(job_id, {"a.png": b"small", "b.png": bytes(1024 * 1024), "c.png": b"also small"})
    outputs = client.get(f"/v1/jobs/{job_id}").json()["outputs"]
    inside = [output["base64"] and base64.b64decode(output["base64"]) for output in outputs]
    assert inside == [b"small", None, b"also small"]


def test_outputs_are_not_inline_unless_asked_for(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    worker.succeed(job_id, {"a.png": b"small"})
    assert client.get(f"/v1/jobs/{job_id}").json()["outputs"][0]["base64"] is None


def test_a_failed_job_says_why(client: TestClient, worker: Worker) -> None:
    job_id = submit(client)["id"]
    worker.fail(job_id)
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["status"], job["terminal"], job["error"]["code"]) == ("failed", True, "diverged")
    assert job["finished_at"].endswith("Z")


def test_head_has_the_headers_of_get_and_no_body(client: TestClient) -> None:
    url = f"/v1/jobs/{submit(client)['id']}"
    got, head = client.get(url), client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    volatile = ("x-request-id", "traceresponse")
    assert {k: v for k, v in head.headers.items() if k not in volatile} == {
        k: v for k, v in got.headers.items() if k not in volatile
    }


def test_head_of_a_stream_ends_at_once(client: TestClient) -> None:
    head = client.head(f"/v1/jobs/{submit(client)['id']}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


# --- cancel, retry, delete -------------------------------------------------------------------------------


def test_cancel_stops_a_queued_job_at_once_and_twice_is_fine(client: TestClient) -> None:
    url = submit(client)["urls"]["cancel"]
    for _ in range(2):
        reply = client.post(url)
        assert (reply.status_code, reply.json()["status"]) == (200, "canceled")


def test_cancel_flags_a_running_job_and_twice_is_fine(client: TestClient, worker: Worker) -> None:
    job = submit(client)
    worker.claim(job["id"])
    for _ in range(2):
        reply = client.post(job["urls"]["cancel"], json={})
        assert reply.status_code == 200
        assert (reply.json()["status"], reply.json()["cancel_requested"]) == ("running", True)


def test_cancel_of_a_finished_job_is_409(client: TestClient, worker: Worker) -> None:
    job = submit(client)
    worker.succeed(job["id"])
    assert_problem(client.post(job["urls"]["cancel"]), 409, "already_finished")


def test_retry_queues_a_failed_job_again(client: TestClient, worker: Worker, queue: MemoryJobQueue) -> None:
    job = submit(client)
    worker.fail(job["id"])
    reply = client.post(job["urls"]["retry"])
    assert reply.status_code == 202
    assert (reply.json()["id"], reply.json()["status"], reply.json()["error"]) == (job["id"], "queued", None)
    assert [job_id for job_id, _, _ in sent(queue, 2)] == [job["id"]] * 2


@pytest.mark.parametrize(("finish", "code"), [(True, "already_finished"), (False, "not_finished")])
def test_retry_of_any_other_job_is_409(client: TestClient, worker: Worker, finish: bool, code: str) -> None:
    job = submit(client)
    if finish:
        worker.succeed(job["id"])
    assert_problem(client.post(job["urls"]["retry"]), 409, code)


def test_delete_removes_a_finished_job_and_its_files(
    client: TestClient, worker: Worker, blobs: DirectoryBlobStore
) -> None:
    url = f"/v1/jobs/{(job_id := submit(client)['id'])}"
    assert_problem(client.delete(url), 409, "not_finished")
    worker.succeed(job_id, {"a.png": png()})
    assert list(blobs.list("t/default"))
    link = client.get(url).json()["outputs"][0]["url"]
    reply = client.delete(url)
    assert (reply.status_code, reply.content) == (204, b"")
    assert not list(blobs.list("t/default"))
    assert_problem(client.get(link), 410, "gone")
    assert_problem(client.get(url), 404, "not_found")
    assert_problem(client.delete(url), 404, "not_found")


# --- lists -----------------------------------------------------------------------------------------------


def pages(client: TestClient, query: str) -> Iterator[list[str]]:
    cursor = ""
    while True:
        page = client.get(f"/v1/jobs?{query}{cursor}").json()
        yield [job["id"] for job in page["data"]]
        if page["next_cursor"] is None:
            return
        cursor = f"&cursor={page['next_cursor']}"


def flat(pages: Iterator[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(pages))


def test_an_empty_list_is_a_page_without_a_next_one(client: TestClient) -> None:
    assert client.get("/v1/jobs").json() == {"data": [], "next_cursor": None}


def test_pages_hold_every_job_once_newest_first(client: TestClient) -> None:
    ids = [submit(client)["id"] for _ in range(7)]
    assert flat(pages(client, "limit=3")) == ids[::-1]


def test_a_last_page_that_is_full_has_no_next_one(client: TestClient) -> None:
    for _ in range(4):
        submit(client)
    assert [len(page) for page in pages(client, "limit=2")] == [2, 2]


def test_jobs_submitted_while_paging_disturb_nothing(client: TestClient) -> None:
    ids = [submit(client)["id"] for _ in range(4)]
    walk = pages(client, "limit=2")
    seen = next(walk)
    submit(client)
    assert seen + flat(walk) == ids[::-1]


def test_a_cursor_of_a_deleted_row_goes_on(client: TestClient, worker: Worker) -> None:
    ids = [submit(client)["id"] for _ in range(3)]
    walk = pages(client, "limit=2")
    seen = next(walk)
    worker.succeed(seen[-1])
    client.delete(f"/v1/jobs/{seen[-1]}")
    assert flat(walk) == ids[:1]


def test_a_cursor_is_good_for_its_own_filters_only(client: TestClient) -> None:
    for _ in range(3):
        submit(client)
    cursor = client.get("/v1/jobs?limit=1").json()["next_cursor"]
    assert client.get(f"/v1/jobs?limit=2&cursor={cursor}").status_code == 200
    assert_problem(client.get(f"/v1/jobs?kind=edit&cursor={cursor}"), 400, "bad_cursor")


def test_filters_narrow_the_list(client: TestClient, worker: Worker) -> None:
    done = submit(client, metadata={"customer": "42"})["id"]
    waiting = submit(client, model="digits", input={"class": 3})["id"]
    worker.succeed(done)

    def found(query: str) -> set[str]:
        return {job["id"] for job in client.get(f"/v1/jobs?{query}").json()["data"]}

    assert found("status=succeeded") == {done}
    assert found("status=succeeded&status=queued") == {done, waiting}
    assert found("model=digits") == {waiting}
    assert found("model=d%25s") == found("model=_igits") == set()
    assert found("kind=invert") == set()
    assert found("metadata.customer=42") == {done}
    assert found("metadata.customer=43") == set()
    assert found("created_after=9999-12-31T23:59:59Z") == set()
    assert found("created_before=9999-12-31T23:59:59-14:00") == {done, waiting}
    assert found("created_after=0001-01-01T00:00:00%2B14:00") == {done, waiting}
