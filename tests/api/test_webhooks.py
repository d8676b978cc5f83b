"""The routes of webhooks, and the webhook of a job."""

import json
import re
import socket
import time

import pytest
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from jobs.views import Views
from jobs.webhooks.payload import payload
from jobs.webhooks.signing import signer_of
from jobs.webhooks.target import Rules

from .conftest import BASE, generate, submit

URL = "https://hooks.example/x"
NAMES = {"hooks.example": ["93.184.216.34"], "inside.example": ["10.0.0.7"]}
WEBHOOK_ID = re.compile(r"whk_[0-9A-HJKMNP-TV-Z]{26}")


def resolve(host, port):
    if host not in NAMES:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")
    return NAMES[host]


@pytest.fixture
def client(make_app):
    with TestClient(make_app(rules=Rules(BASE, resolve=resolve)), base_url=BASE) as client:
        yield client


def add(client, **given):
    reply = client.post("/v1/webhooks", json={"url": URL} | given)
    assert reply.status_code == 201, reply.text
    return reply.json()


def refused(reply, status, code):
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    return reply.json()


def deliveries(client, webhook_id, **params):
    return client.get(f"/v1/webhooks/{webhook_id}/deliveries", params=params).json()["data"]


def test_a_webhook_is_added_shown_changed_and_removed(client):
    made = add(client, url=URL + "#part", description="to the shop")
    assert WEBHOOK_ID.fullmatch(made["id"])
    assert made.pop("secret").startswith("whsec_")
    assert (made["url"], made["events"], made["enabled"]) == (URL, ["finished"], True)

    shown = client.get(f"/v1/webhooks/{made['id']}").json()
    assert shown == made | {"secret": None}
    assert client.get("/v1/webhooks").json()["data"] == [shown]

    changed = client.patch(
        f"/v1/webhooks/{made['id']}", json={"events": ["started", "output"], "enabled": False}
    ).json()
    assert (changed["events"], changed["enabled"], changed["disabled_reason"]) == (
        ["started", "output"], False, "owner",
    )  # fmt: skip
    assert changed["description"] == "to the shop"
    assert client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True}).json()["enabled"] is True

    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 204
    refused(client.get(f"/v1/webhooks/{made['id']}"), 404, "not_found")
    refused(client.delete(f"/v1/webhooks/{made['id']}"), 404, "not_found")
    assert client.get("/v1/webhooks").json()["data"] == []


# Each rule on its own is in tests/jobs/webhooks/test_target.py; these are one of each kind of answer.
@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://hooks.example/", "bad_webhook"),
        ("https://user:word@hooks.example/", "bad_webhook"),
        ("https://hooks.example:22/", "bad_webhook"),
        ("https://nowhere.example/", "bad_webhook"),
        ("https://hooks.example/" + "a" * 10_000, "bad_webhook"),
        ("https://hooks.example/\r\nHost: x", "bad_webhook"),
        ("https://127.0.0.1/", "forbidden_address"),
        ("https://①②⑦.⓪.⓪.①/", "forbidden_address"),
        ("https://169.254.169.254/latest", "forbidden_address"),
        ("https://inside.example/", "forbidden_address"),
        (f"{BASE.replace('http', 'https')}/v1/jobs", "forbidden_address"),
        ("", "invalid_request"),
        ("x" * 20_000, "limit_exceeded"),
        (7, "invalid_request"),
        (None, "invalid_request"),
    ],
)
def test_a_bad_url_is_refused_wherever_it_is_given(client, url, code):
    if url is not None and code in ("bad_webhook", "forbidden_address"):
        made = add(client)
        refused(client.patch(f"/v1/webhooks/{made['id']}", json={"url": url}), 422, code)
        client.delete(f"/v1/webhooks/{made['id']}")
    code_or = {code, "invalid_request"}
    for reply in (
        client.post("/v1/webhooks", json={"url": url}),
        client.post("/v1/jobs", json=generate(webhook={"url": url})),
    ):
        assert reply.status_code == 422 and reply.json()["code"] in code_or, reply.text
    assert client.get("/v1/webhooks").json()["data"] == []
    assert client.get("/v1/jobs").json()["data"] == []  # a refused request leaves nothing


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": URL, "events": []},
        {"url": URL, "events": ["deleted"]},
        {"url": URL, "events": ["finished", "finished"]},
        {"url": URL, "events": "finished"},
        {"url": URL, "secret": "whsec_mine"},
        {"url": URL, "tenant": "other"},
        {"url": URL, "description": "a" * 257},
        {"url": URL, "description": "\u202eevil"},
    ],
)
def test_bodies_are_strict(client, body):
    reply = client.post("/v1/webhooks", json=body)

    assert reply.status_code == 422, reply.text
    assert (
        client.post("/v1/webhooks", content=b"[]", headers={"content-type": "application/json"}).status_code
        == 422
    )


def test_43_the_twenty_first_webhook_is_refused(client):
    for _ in range(20):
        add(client)

    refused(client.post("/v1/webhooks", json={"url": URL}), 409, "too_many_webhooks")
    assert len(client.get("/v1/webhooks").json()["data"]) == 20


@pytest.mark.parametrize(
    "webhook_id", ["whk_" + "0" * 26, "whk_0", "jobs", "..", "job_" + "0" * 26, "%00", "*", "whk_" + "٣" * 26]
)
def test_ids_that_are_none_of_ours_are_not_there(client, webhook_id):
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")):
        options = {"json": {}} if method == "PATCH" else {}
        reply = client.request(method, f"/v1/webhooks/{webhook_id}{path}", **options)
        assert reply.status_code in (400, 404, 405), reply.text


@pytest.mark.parametrize("delivery_id", ["dlv_" + "0" * 26, "dlv_0", "x" * 300])
def test_deliveries_that_are_none_of_ours_are_not_there(client, delivery_id):
    refused(client.get(f"/v1/webhooks/deliveries/{delivery_id}"), 404, "not_found")
    refused(client.post(f"/v1/webhooks/deliveries/{delivery_id}/resend"), 404, "not_found")


def test_a_secret_can_be_read_and_rotated_and_both_are_what_signs(client, store, settings):
    made = add(client)
    path = f"/v1/webhooks/{made['id']}"
    assert client.get(f"{path}/secret").json() == {"secret": made["secret"], "previous_until": None}

    rotated = client.post(f"{path}/rotate", json={"overlap_s": 60}).json()

    assert rotated["secret"] != made["secret"] and rotated["previous_until"]
    client.post(f"{path}/test")
    [leased] = store.webhooks.lease(1, share=1)
    headers = signer_of(settings).headers(leased.salts, leased.event_id, int(time.time()), b"{}")
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(b"{}", headers)
    refused(client.post(f"{path}/rotate", json={"overlap_s": -1}), 422, "invalid_request")
    refused(client.post(f"{path}/rotate", json={"overlap_s": 10**9}), 422, "invalid_request")


def test_the_webhooks_of_jobs_have_a_secret_and_a_log_of_their_own(client, worker):
    secret = client.get("/v1/webhooks/jobs/secret").json()["secret"]
    assert client.get("/v1/webhooks/jobs/secret").json()["secret"] == secret
    assert client.get("/v1/webhooks").json()["data"] == []
    job = submit(client, webhook={"url": URL + "#x", "events": ["started", "finished"]})
    worker.succeed(job["id"])

    log = deliveries(client, "jobs")

    assert [(d["type"], d["job"], d["url"], d["status"]) for d in log] == [
        ("job.finished", job["id"], URL, "pending"),
        ("job.started", job["id"], URL, "pending"),
    ]
    assert client.post("/v1/webhooks/jobs/rotate", json={}).json()["secret"] != secret
    assert client.patch("/v1/webhooks/jobs", json={"enabled": False}).status_code == 404
    assert client.delete("/v1/webhooks/jobs").status_code == 404


def test_the_default_of_a_jobs_webhook_is_its_end(client, store):
    job = submit(client, webhook={"url": URL})

    assert store.get("default", job["id"]).request.webhook.events == ("finished",)


def test_what_is_told_is_the_job_as_the_api_shows_it(client, store, blobs, settings, worker):
    add(client)
    job = submit(client)
    worker.succeed(job["id"], {"a.png": b"x"})
    [leased] = store.webhooks.lease(1, share=1)

    told = json.loads(payload(leased, store, Views(blobs, settings)).body)["data"]

    shown = client.get(f"/v1/jobs/{job['id']}").json()
    assert client.get(told["outputs"][0]["url"]).content == b"x"
    for view in (told, shown):
        for output in view["outputs"]:
            del output["url"], output["url_expires_at"]
    assert told == shown


def test_the_log_has_every_attempt_and_a_dead_letter_can_be_sent_again(client, store):
    made = add(client)
    sent = client.post(f"/v1/webhooks/{made['id']}/test")
    assert sent.status_code == 202 and sent.json()["type"] == "webhook.test"
    delivery_id = sent.json()["id"]
    refused(client.post(f"/v1/webhooks/deliveries/{delivery_id}/resend"), 409, "not_finished")
    [leased] = store.webhooks.lease(1, share=1)
    store.webhooks.settle(leased, succeeded=False, status=500, error="status", duration_ms=7)

    shown = client.get(f"/v1/webhooks/deliveries/{delivery_id}").json()
    assert (shown["status"], shown["error"], shown["next_attempt_at"]) == ("failed", "status", None)
    [attempt] = shown["attempts"]
    assert (attempt["status"], attempt["duration_ms"], attempt["number"]) == (500, 7, 1)
    assert deliveries(client, made["id"]) == [shown]

    again = client.post(f"/v1/webhooks/deliveries/{delivery_id}/resend")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert again.json()["event"] == shown["event"]

    client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": False})
    refused(client.post(f"/v1/webhooks/deliveries/{delivery_id}/resend"), 409, "webhook_disabled")
    refused(client.post(f"/v1/webhooks/{made['id']}/test"), 409, "webhook_disabled")


def test_the_log_is_paged_and_filtered(client, store):
    made = add(client)
    for _ in range(5):
        client.post(f"/v1/webhooks/{made['id']}/test")
    [leased] = store.webhooks.lease(1, share=1)
    store.webhooks.settle(leased, succeeded=True, status=204)
    path = f"/v1/webhooks/{made['id']}/deliveries"

    first = client.get(path, params={"limit": 3}).json()
    rest = client.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()

    assert len({d["id"] for d in first["data"] + rest["data"]}) == 5 and rest["next_cursor"] is None
    assert [d["id"] for d in deliveries(client, made["id"], status="succeeded")] == [leased.id]
    assert len(deliveries(client, made["id"], status=["succeeded", "pending"])) == 5
    other = add(client)
    cursor = first["next_cursor"]
    refused(
        client.get(f"/v1/webhooks/{other['id']}/deliveries", params={"cursor": cursor}), 400, "bad_cursor"
    )
    refused(client.get(path, params={"status": "nope"}), 422, "invalid_request")
    refused(client.get(path, params={"limit": 201}), 422, "invalid_request")


def test_the_same_key_with_another_webhook_is_another_request(client):
    key = {"Idempotency-Key": "k1"}
    first = client.post("/v1/jobs", json=generate(webhook={"url": URL}), headers=key)
    same = client.post("/v1/jobs", json=generate(webhook={"url": URL}), headers=key)
    other = client.post("/v1/jobs", json=generate(webhook={"url": URL + "2"}), headers=key)

    assert first.json()["id"] == same.json()["id"]
    refused(other, 422, "idempotency_key_reused")
