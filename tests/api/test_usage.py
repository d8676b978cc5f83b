"""What a tenant used and may use, and what it hears when that is used up."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient

from jobs.access import Scope
from jobs.store import JobStore
from jobs.store.access import Access

from .conftest import Worker, bearer, generate, png, submit
from .test_bad_input import assert_problem


def seeds(count: int) -> dict:
    return {"input": {"source": {"seeds": f"0-{count - 1}"}}}


@pytest.fixture
def acme(access: Access) -> dict[str, str]:
    limits = {"max_jobs": 2, "max_images_per_job": 8, "max_images_per_day": 10, "max_bytes": 5000}
    access.create_tenant("acme", limits)
    return bearer(access.create_key("acme", (Scope.JOBS_READ, Scope.JOBS_WRITE))[1])


def test_usage_without_keys_or_limits(client: TestClient, worker: Worker) -> None:
    submit(client, **seeds(3))
    worker.succeed(submit(client, **seeds(2))["id"], {"a.png": bytes(100)})
    usage = client.get("/v1/usage").json()
    assert usage["tenant"] == "default"
    assert usage["jobs"] == {"used": 1, "limit": None}
    assert usage["images_today"] == {"used": 5, "limit": None}
    assert usage["stored_bytes"] == {"used": 100, "limit": None}
    assert usage["jobs_ended_today"] == 1 and usage["requests_per_minute"] is None
    resets_at = datetime.fromisoformat(usage["resets_at"])
    assert (resets_at.hour, resets_at.minute, resets_at.second) == (0, 0, 0)
    assert timedelta() < resets_at - datetime.now(UTC) <= timedelta(days=1)


def test_usage_tells_the_limits_of_the_callers_tenant(guarded: TestClient, acme: dict[str, str]) -> None:
    usage = guarded.get("/v1/usage", headers=acme).json()
    assert usage["jobs"] == {"used": 0, "limit": 2}
    assert usage["images_today"] == {"used": 0, "limit": 10}
    assert usage["images_per_job"] == 8
    assert usage["stored_bytes"]["limit"] == 5000


def test_6_1_18_more_pictures_than_a_job_may_make(
    guarded: TestClient, store: JobStore, acme: dict[str, str]
) -> None:
    reply = guarded.post("/v1/jobs", json=generate(**seeds(9)), headers=acme)
    assert_problem(reply, 422, "limit_exceeded")
    assert "9 pictures" in reply.json()["detail"] and "8" in reply.json()["detail"]
    assert store.list("acme") == []


def test_a_quota_says_what_to_do_and_when(guarded: TestClient, acme: dict[str, str]) -> None:
    for _ in range(2):
        assert guarded.post("/v1/jobs", json=generate(), headers=acme).status_code == 202
    reply = guarded.post("/v1/jobs", json=generate(), headers=acme)
    assert_problem(reply, 429, "quota")
    assert re.search("wait for some to end", reply.json()["detail"])
    assert reply.headers["retry-after"] == "5"


def test_a_days_pictures_come_back_at_midnight(
    guarded: TestClient, store: JobStore, acme: dict[str, str]
) -> None:
    first = guarded.post("/v1/jobs", json=generate(**seeds(8)), headers=acme)
    reply = guarded.post("/v1/jobs", json=generate(**seeds(3)), headers=acme)
    assert_problem(reply, 429, "quota")
    assert 0 < int(reply.headers["retry-after"]) <= 86401
    assert "00:00 UTC" in reply.json()["detail"]
    store.cancel("acme", first.json()["id"])
    assert guarded.post("/v1/jobs", json=generate(**seeds(3)), headers=acme).status_code == 202


def test_a_full_store_refuses_uploads_and_keeps_nothing_of_them(
    guarded: TestClient, store: JobStore, access: Access, blobs, acme: dict[str, str]
) -> None:
    access.set_limits("acme", {"max_bytes": 10})
    octets = acme | {"Content-Type": "image/png"}
    reply = guarded.post("/v1/images", content=png(64, 64), headers=octets)
    assert_problem(reply, 429, "quota")
    assert "delete jobs" in reply.json()["detail"]
    assert list(blobs.list("t/acme/")) == []
    access.set_limits("acme", {"max_bytes": None})
    assert guarded.post("/v1/images", content=png(64, 64), headers=octets).status_code == 201
    [row] = [store.usage("acme")]
    assert row.stored_bytes > 10
