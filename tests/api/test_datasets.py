"""Orders of datasets: what is refused at once, what is told before, and how they are steered."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from jobs.buckets import read_buckets
from jobs.estimates import BYTES_A_FILE
from jobs.schemas import Status
from jobs.store import OutputRow, Quotas

from .conftest import BASE
from .test_bad_input import assert_problem


def dataset(**given):
    body = {"kind": "dataset", "model": given.pop("model", "faces"), "output": given.pop("output", {})}
    return body | {"input": {"count": 10} | given}


def test_the_job_says_exactly_what_will_be_made(client):
    reply = client.post("/v1/jobs", json=dataset(count=25_000))
    job = reply.json()
    assert (reply.status_code, job["status"], job["attempts"]) == (202, "running", 0)
    assert job["input"]["shard_size"] == 10_000 and job["input"]["model_sha256"] == "ab" * 32
    assert job["parts"]["total"] == job["parts"]["queued"] == 3


def test_an_estimate_tells_and_records_nothing(client):
    output = {"format": "jpeg", "latents": "w"}
    told = client.post("/v1/estimates", json=dataset(count=25_000, output=output)).json()
    assert (told["samples"], told["pictures"], told["shards"], told["refused"]) == (25_000, 25_000, 3, None)
    assert told["bytes"] > 25_000 * 32 and told["device_s"] is None and told["measured"] is False
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"count": 10_000_001}, "invalid_request"),
        ({"count": 1_000_000, "shard_size": 1}, "limit_exceeded"),
        ({"shard_size": 100_000, "output": {"size": 4096}}, "limit_exceeded"),
        ({"attributes": True}, "unsupported_by_model"),
        ({"output": {"format": "npz"}}, "invalid_request"),
        ({"output": {"latents": "s"}}, "unsupported_by_model"),
        ({"model": "digits"}, "invalid_request"),
        ({"variants": [{"name": "x", "edits": [{"name": "frown"}]}]}, "unknown_direction"),
        ({"variants": [{"name": "x", "edits": [{"name": "smile", "layers": "9"}]}]}, "invalid_request"),
        ({"model_sha256": "0" * 64}, "model_mismatch"),
        ({"prefix": "../up"}, "invalid_request"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(client, given, code):
    reply = client.post("/v1/jobs", json=dataset(**given))
    assert_problem(reply, 409 if code == "model_mismatch" else 422, code)


def test_what_would_not_fit_is_refused_at_once_and_the_estimate_says_the_same(make_app, store, worker):
    store.quotas = Quotas(max_bytes=2_000_000, max_device_s_per_day=10)
    with TestClient(make_app(), base_url=BASE) as client:
        seen = client.post("/v1/jobs", json={"kind": "generate", "model": "faces"}).json()["id"]
        claim = worker.claim(seen)
        png = OutputRow("a.png", "image", "t/default/a.png", "image/png", 1000, "0" * 64)
        store.finish(claim, Status.SUCCEEDED, outputs=[png], metrics={"device_ms": 20})
        for count, code, status in ((2000, "limit_exceeded", 422), (400, None, 202), (400, "quota", 429)):
            told = client.post("/v1/estimates", json=dataset(count=count)).json()
            assert (told["refused"] is not None) == (code is not None)
            reply = client.post("/v1/jobs", json=dataset(count=count))
            assert reply.status_code == status and reply.json().get("code") == code
            assert code is None or reply.json()["detail"] == told["refused"]
        usage = client.get("/v1/usage").json()
        assert (usage["device_s_ordered"], usage["bytes_ordered"]) == (8, 400 * (1000 + BYTES_A_FILE))


@pytest.fixture
def acmes(settings, tmp_path, make_app):
    """A gateway with a bucket for `acme` and one for everybody's tenant."""
    file = tmp_path / "buckets.toml"
    file.write_text(
        '[theirs]\ntenants = ["acme"]\nbucket = "acme"\n[mine]\ntenants = ["default"]\nbucket = "mine"\n'
    )
    app = make_app()
    app.state.desk = replace(app.state.desk, buckets=read_buckets(file))
    with TestClient(app, base_url=BASE) as client:
        yield client


def test_a_bucket_is_one_of_the_tenant_s_own(acmes):
    assert acmes.get("/v1/usage").json()["buckets"] == ["mine"]
    job = acmes.post("/v1/jobs", json=dataset(output={"bucket": "mine"})).json()
    assert (job["status"], job["output"]["bucket"]) == ("running", "mine")
    for name in ("theirs", "nobodys"):
        reply = acmes.post("/v1/jobs", json=dataset(output={"bucket": name}))
        assert_problem(reply, 422, "unknown_bucket")
    picture = {"kind": "generate", "model": "faces", "output": {"bucket": "mine"}}
    assert_problem(acmes.post("/v1/jobs", json=picture), 422, "invalid_request")


def test_the_same_prefix_twice_is_409(client):
    client.post("/v1/jobs", json=dataset(prefix="mine"))
    assert_problem(client.post("/v1/jobs", json=dataset(prefix="mine")), 409, "name_taken")


def test_it_is_paused_resumed_extended_and_canceled(client, store):
    job = client.post("/v1/jobs", json=dataset(shard_size=5)).json()["id"]
    assert "paused" in client.post(f"/v1/jobs/{job}/pause").json()["progress"]["message"]
    assert store.depths() == {}
    assert client.post(f"/v1/jobs/{job}/resume").status_code == 200
    longer = client.post(f"/v1/jobs/{job}/extend", json={"count": 5})
    assert longer.status_code == 202 and longer.json()["parts"]["total"] == 3
    assert_problem(client.post(f"/v1/jobs/{job}/extend", json={"count": 0}), 422, "invalid_request")
    assert client.post(f"/v1/jobs/{job}/cancel").json()["status"] == Status.CANCELED
    assert_problem(client.post(f"/v1/jobs/{job}/pause"), 409, "already_finished")
