"""Batches: lines in, one refusal for all that is wrong in them, counts and two files out."""

import json

from jobs.schemas import Status
from jobs.store import Quotas

from .test_bad_input import assert_problem

JSONL = {"Content-Type": "application/jsonl"}


def line(custom_id="a", **body):
    return {"custom_id": custom_id, "body": {"kind": "generate", "model": "faces"} | body}


def post(client, *lines, **headers):
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    return client.post("/v1/batches", content=text.encode(), headers=JSONL | headers)


def test_a_batch_is_a_job_whose_parts_are_its_lines(client, store):
    edit = {"source": {"seeds": [1]}, "operations": [{"op": "direction", "name": "smile"}]}
    reply = post(
        client, line("a", input={"source": {"seeds": "0-3"}}), "", line("b", kind="edit", input=edit)
    )
    assert reply.status_code == 202
    batch = reply.json()
    assert reply.headers["location"].endswith(f"/v1/batches/{batch['id']}")
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 0}
    assert batch["input"] == {"lines": 2, "pictures": 5}
    lines = client.get(f"/v1/jobs?parent={batch['id']}").json()["data"]
    assert {(job["kind"], job["metadata"]["custom_id"]) for job in lines} == {
        ("generate", "a"),
        ("edit", "b"),
    }
    assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [batch["id"]]
    assert [job["id"] for job in client.get("/v1/batches").json()["data"]] == [batch["id"]]
    assert {due.kind for due in store.due_for_send()} == {"generate", "edit"}


def test_a_batch_needs_what_all_its_lines_need(client, store):
    """32 pixels: about 2 kB a picture, as long as none was made."""
    store.quotas = Quotas(max_bytes=10_000)
    reply = post(client, *[line(f"n{n}") for n in range(9)])
    assert_problem(reply, 422, "limit_exceeded")
    assert "likely to store" in reply.json()["detail"] and client.get("/v1/jobs").json()["data"] == []
    assert post(client, *[line(f"n{n}") for n in range(4)]).status_code == 202
    assert_problem(post(client, line("one"), line("more")), 429, "quota")


def test_every_line_that_cannot_be_taken_is_named_and_nothing_is_recorded(client):
    reply = post(
        client,
        line("a"),
        "no json",
        line("a"),
        line("b", model="nowhere"),
        line("c", input={"psi": 9}),
        line("d", kind="evaluate"),
        {"body": {}},
        line("e", webhook={"url": "https://example.com"}),
    )
    assert_problem(reply, 422, "invalid_request")
    errors = {error["path"]: error["message"] for error in reply.json()["errors"]}
    assert list(errors) == [f"line {n}" for n in (2, 3, 4, 5, 6, 7, 8)]
    assert "twice" in errors["line 3"] and "nowhere" in errors["line 4"] and "psi" in errors["line 5"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_an_empty_batch_and_one_in_another_type_are_refused(client):
    assert_problem(post(client), 422, "invalid_request")
    assert_problem(client.post("/v1/batches", json=line()), 415, "unsupported_media_type")


def test_the_same_key_gives_the_same_batch(client):
    first, again = (post(client, line(), **{"Idempotency-Key": "k"}) for _ in range(2))
    assert again.json()["id"] == first.json()["id"] and again.headers["idempotent-replayed"] == "true"
    assert again.json()["request_counts"]["total"] == 1
    assert_problem(post(client, line("z"), **{"Idempotency-Key": "k"}), 422, "idempotency_key_reused")


def test_lines_end_as_they_may_and_the_batch_tells_of_them(client, store, worker):
    batch = post(client, line("a"), line("b")).json()["id"]
    first, second = store.parts("default", batch)
    worker.succeed(first.id, {})
    client.post(f"/v1/batches/{batch}/cancel")
    assert store.get("default", second.id).status is Status.CANCELED
    store.tend("default", batch)  # the summary is asked for
    [summary] = store.due_for_send()
    worker.succeed(summary.id, {"results.jsonl": b"{}\n"})
    store.tend("default", batch)
    found = client.get(f"/v1/batches/{batch}").json()
    assert found["status"] == "canceled"
    assert found["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    assert [output["name"] for output in found["outputs"]] == ["results.jsonl"]


def test_a_line_is_not_steered_alone(client):
    batch = post(client, line()).json()["id"]
    [part] = client.get(f"/v1/jobs?parent={batch}").json()["data"]
    for call in ("cancel", "retry"):
        assert_problem(client.post(f"/v1/jobs/{part['id']}/{call}"), 409, "part_of_job")
    assert_problem(client.delete(f"/v1/jobs/{part['id']}"), 409, "part_of_job")
