"""Verifying webhooks, the calls and commands that manage them, and the listener."""

import base64
import http.client
import json
import threading
import time
from datetime import UTC, datetime

import httpx2 as httpx
import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner

from client import AsyncClient, Client, sync, verify_webhook, webhooks
from client.cli import app
from client.errors import BadWebhook
from client.listener import Listener

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = json.dumps(
    {"type": "job.finished", "timestamp": "t", "data": {"id": "job_1", "status": "succeeded"}}
).encode()
ID, DELIVERY = "whk_" + "0" * 26, "dlv_" + "0" * 26


def signed(body=BODY, *, secret=SECRET, event_id="evt_1", at=None):
    """As the public library signs."""
    at = at or time.time()
    signature = Webhook(secret).sign(event_id, datetime.fromtimestamp(at, UTC), body.decode())
    return {"Webhook-Id": event_id, "Webhook-Timestamp": str(int(at)), "Webhook-Signature": signature}


def view(**changes):
    webhook = {
        "id": ID, "url": "https://hooks.example/", "events": ["finished"], "description": "", "enabled": True,
        "disabled_reason": None, "failing_since": None, "created_at": "2026-01-01T00:00:00Z", "secret": None,
    }  # fmt: skip
    return webhook | changes


def delivery(**changes):
    shown = {
        "id": DELIVERY, "webhook": ID, "event": "evt_1", "type": "job.finished", "job": "job_1", "url": None,
        "status": "pending", "tries": 0, "next_attempt_at": "2026-01-01T00:00:00Z", "error": None,
        "created_at": "2026-01-01T00:00:00Z", "finished_at": None, "attempts": [],
    }  # fmt: skip
    return shown | changes


# --- verifying -------------------------------------------------------------------------------------------


def test_what_the_public_library_signs_is_verified():
    assert verify_webhook(signed(), BODY, SECRET)["data"]["id"] == "job_1"


def test_one_of_several_signatures_is_enough():
    headers = signed()
    headers["Webhook-Signature"] = (
        f"v1a,AAAA v1,??? {signed(secret=OTHER)['Webhook-Signature']} " + headers["Webhook-Signature"]
    )

    assert verify_webhook(headers, BODY, SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"Webhook-Id": "evt_2"},
        {"Webhook-Signature": ""},
        {"Webhook-Signature": "v1,"},
        {"Webhook-Signature": "v2," + "A" * 44},
        {"Webhook-Timestamp": "٣"},
        {"Webhook-Timestamp": "-1"},
        {"Webhook-Timestamp": ""},
    ],
)
def test_headers_that_were_changed_are_refused(change):
    with pytest.raises(BadWebhook):
        verify_webhook(signed() | change, BODY, SECRET)


def test_another_body_secret_or_time_is_refused():
    for headers, body in (
        ({}, BODY),
        (signed(), BODY + b" "),
        (signed(secret=OTHER), BODY),
        (signed(at=time.time() - 305), BODY),
        (signed(at=time.time() + 305), BODY),
    ):
        with pytest.raises(BadWebhook):
            verify_webhook(headers, body, SECRET)
    assert verify_webhook(signed(at=1000), BODY, SECRET, clock=lambda: 1300.0)


def test_a_secret_that_is_none_is_the_callers_mistake():
    with pytest.raises(ValueError):
        verify_webhook(signed(), BODY, "whsec_?")


# --- calls -----------------------------------------------------------------------------------------------

CALLS = [
    (webhooks.add("https://hooks.example/", events=["started"]), "POST", "/v1/webhooks", view(secret=SECRET)),
    (webhooks.every(), "GET", "/v1/webhooks", {"data": [view()]}),
    (webhooks.get(ID), "GET", f"/v1/webhooks/{ID}", view()),
    (webhooks.change(ID, enabled=False), "PATCH", f"/v1/webhooks/{ID}", view(enabled=False)),
    (webhooks.secret("jobs"), "GET", "/v1/webhooks/jobs/secret", {"secret": SECRET, "previous_until": None}),
    (webhooks.rotate(ID), "POST", f"/v1/webhooks/{ID}/rotate", {"secret": OTHER, "previous_until": "t"}),
    (webhooks.test(ID), "POST", f"/v1/webhooks/{ID}/test", delivery()),
    (
        webhooks.deliveries(ID, status=["failed"]), "GET", f"/v1/webhooks/{ID}/deliveries",
        {"data": [delivery()], "next_cursor": None},
    ),
    (webhooks.delivery(DELIVERY), "GET", f"/v1/webhooks/deliveries/{DELIVERY}", delivery()),
    (webhooks.resend(DELIVERY), "POST", f"/v1/webhooks/deliveries/{DELIVERY}/resend", delivery()),
]  # fmt: skip


@pytest.mark.parametrize(("call", "method", "path", "answer"), CALLS, ids=[c[1] + c[2] for c in CALLS])
def test_each_call_goes_to_its_route_and_reads_its_answer(service, call, method, path, answer):
    service.replies = [httpx.Response(200, json=answer)]
    with Client(transport=httpx.MockTransport(service)) as client:
        got = client.send(call)

    assert (service.requests[0].method, service.requests[0].url.path) == (method, path)
    assert got.model_dump(mode="json") == answer


def test_only_what_is_changed_is_sent(service):
    service.replies = [httpx.Response(200, json=view())]
    with Client(transport=httpx.MockTransport(service)) as client:
        client.send(webhooks.change(ID, enabled=False))

    assert json.loads(service.requests[0].content) == {"enabled": False}


def test_the_async_client_makes_the_same_calls(service):
    import asyncio

    async def run():
        async with AsyncClient(transport=httpx.MockTransport(service)) as client:
            return await client.send(webhooks.get(ID))

    service.replies = [httpx.Response(200, json=view())]
    assert asyncio.run(run()).id == ID


# --- commands --------------------------------------------------------------------------------------------


@pytest.fixture
def ganserve(service, monkeypatch):
    original = sync.httpx.Client
    monkeypatch.setattr(
        sync.httpx, "Client", lambda **o: original(**o | {"transport": httpx.MockTransport(service)})
    )
    monkeypatch.setattr("time.sleep", lambda _: None)
    return lambda *arguments: CliRunner().invoke(app, ["webhooks", *arguments])


def test_add_prints_the_secret(ganserve, service):
    service.replies = [httpx.Response(201, json=view(secret=SECRET))]

    result = ganserve("add", "https://hooks.example/", "-e", "started,finished")

    assert SECRET in result.stdout
    assert json.loads(service.requests[0].content)["events"] == ["started", "finished"]


def test_an_event_that_does_not_exist_is_never_sent(ganserve, service):
    result = ganserve("add", "https://hooks.example/", "-e", "deleted")

    assert result.exit_code == 2 and service.requests == []


def test_list_and_deliveries_are_tables_or_json(ganserve, service):
    gone = view(enabled=False, disabled_reason="gone")
    log = {"data": [delivery(status="failed", error="timeout")], "next_cursor": None}
    service.replies = [httpx.Response(200, json=body) for body in ({"data": [gone]}, log, log)]

    assert "disabled (gone)" in ganserve("list").stdout
    assert "timeout" in ganserve("deliveries", ID, "--status", "failed").stdout
    assert json.loads(ganserve("deliveries", "jobs", "--json").stdout) == log["data"]


@pytest.mark.parametrize(
    ("arguments", "method", "path"),
    [
        (["remove", ID], "DELETE", f"/v1/webhooks/{ID}"),
        (["enable", ID], "PATCH", f"/v1/webhooks/{ID}"),
        (["disable", ID], "PATCH", f"/v1/webhooks/{ID}"),
        (["resend", DELIVERY], "POST", f"/v1/webhooks/deliveries/{DELIVERY}/resend"),
    ],
)
def test_each_command_calls_its_route(ganserve, service, arguments, method, path):
    answer = delivery() if arguments[0] == "resend" else view()
    service.replies = [httpx.Response(204) if method == "DELETE" else httpx.Response(200, json=answer)]

    assert ganserve(*arguments).exit_code == 0
    assert (service.requests[0].method, service.requests[0].url.path) == (method, path)


def test_secret_and_rotate_print_the_secret_alone(ganserve, service):
    answer = {"secret": SECRET, "previous_until": None}
    service.replies = [httpx.Response(200, json=answer)] * 2

    assert ganserve("secret", "jobs").stdout.strip() == SECRET
    assert ganserve("rotate", ID, "--overlap", "60").stdout.strip() == SECRET
    assert json.loads(service.requests[1].content) == {"overlap_s": 60.0}


def test_recover_sends_all_that_failed_again(ganserve, service):
    pages = [
        {"data": [delivery(id=f"dlv_{n}", status="failed") for n in numbers], "next_cursor": cursor}
        for numbers, cursor in (((1, 2), "next"), ((3,), None))
    ]
    service.replies = [httpx.Response(200, json=page) for page in pages]
    service.replies += [httpx.Response(202, json=delivery())] * 3

    result = ganserve("recover", ID)

    assert "3 sent again" in result.stdout
    assert [request.url.params.get("cursor") for request in service.requests[:2]] == [None, "next"]
    assert [request.url.path.split("/")[-2] for request in service.requests[2:]] == [
        "dlv_1",
        "dlv_2",
        "dlv_3",
    ]


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1)])
def test_test_waits_for_the_first_attempt(ganserve, service, status, code):
    service.replies = [
        httpx.Response(202, json=delivery()),
        httpx.Response(200, json=delivery()),
        httpx.Response(200, json=delivery(status=status)),
    ]

    result = ganserve("test", ID)

    assert result.exit_code == code and status in result.stdout


# --- the listener ----------------------------------------------------------------------------------------


@pytest.fixture
def listener():
    heard, refused = [], []
    with Listener(0, secret=SECRET, heard=heard.append, refused=refused.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server, heard, refused
        server.shutdown()
        thread.join()


def test_the_listener_hands_on_what_verifies_once_for_each_event(listener):
    server, heard, refused = listener

    for _ in range(2):
        assert httpx.post(server.url, content=BODY, headers=signed()).status_code == 204
    assert httpx.post(server.url, content=BODY, headers=signed(secret=OTHER)).status_code == 400
    assert httpx.post(server.url, content=BODY, headers=signed(event_id="evt_2")).status_code == 204

    assert [event["type"] for event in heard] == ["job.finished", "job.finished"]
    assert len(refused) == 1


def test_the_listener_takes_no_body_without_an_end(listener):
    server, heard, _ = listener

    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", "99999999999")
    connection.endheaders()

    assert (connection.getresponse().status, heard) == (413, [])
    connection.close()


def test_listen_registers_itself_for_as_long_as_it_runs(ganserve, service, monkeypatch):
    service.replies = [httpx.Response(201, json=view(secret=SECRET)), httpx.Response(204)]
    event = {"type": "job.output", "timestamp": "2026", "data": {"job": "job_1", "output": {"name": "a.png"}}}

    def serve(listener, poll_interval):
        listener.heard(event)
        raise KeyboardInterrupt

    monkeypatch.setattr(Listener, "serve_forever", serve)

    result = ganserve("listen", "--port", "0")

    assert result.exit_code == 0, result.output
    assert "job.output  job_1  a.png" in result.stdout
    asked = json.loads(service.requests[0].content)
    assert asked["url"].startswith("http://127.0.0.1:")
    assert (service.requests[1].method, service.requests[1].url.path) == ("DELETE", f"/v1/webhooks/{ID}")
