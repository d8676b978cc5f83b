"""Who may come in. The numbers are those of the list of bad inputs, 6.8."""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.auth import KEEP_S
from api.deps import Require, needed_scope, public, tenant
from jobs.access import ALL_SCOPES, Key, Scope, new_key
from jobs.store import JobStore
from jobs.store.access import Access

from .conftest import BASE, bearer, generate, png
from .test_bad_input import assert_problem

READ, WRITE = (Scope.JOBS_READ,), (Scope.JOBS_READ, Scope.JOBS_WRITE)


@pytest.fixture
def key(access: Access) -> Key:
    return access.create_key("default", WRITE)[1]


def wait_out_the_cache(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = client.app.state.doorkeeper  # type: ignore[attr-defined]
    at = keeper._clock() + KEEP_S + 0.1
    monkeypatch.setattr(keeper, "_clock", lambda: at)


def test_a_key_opens_what_its_scopes_say(guarded: TestClient, key: Key) -> None:
    reply = guarded.post("/v1/jobs", json=generate(), headers=bearer(key))
    assert reply.status_code == 202
    assert guarded.get(f"/v1/jobs/{reply.json()['id']}", headers=bearer(key)).json()["id"]
    assert guarded.get("/v1/models", headers={"Authorization": f"bEARER  {key.text}"}).status_code == 200


def _altered(key: Key) -> str:
    return key.text[:-1] + ("0" if key.text[-1] != "0" else "1")


def _raw(value: str) -> dict[bytes, bytes]:
    return {b"Authorization": value.encode()}


BAD: list[tuple[str, str, Callable[[Key], dict[Any, Any] | list[Any]], tuple[int, str]]] = [
    ("6.8.1", "no key", lambda key: {}, (401, "unauthorized")),
    ("6.8.2", "empty Bearer", lambda key: bearer(""), (401, "invalid_key")),
    ("6.8.2b", "Bearer alone", lambda key: {"Authorization": "Bearer"}, (401, "invalid_key")),
    ("6.8.3", "Basic", lambda key: {"Authorization": "Basic dXNlcjpwdw=="}, (401, "unauthorized")),
    ("6.8.3b", "the key alone", lambda key: {"Authorization": key.text}, (401, "unauthorized")),
    ("6.8.4", "unknown key", lambda key: bearer(new_key("live")), (401, "invalid_key")),
    ("6.8.5", "wrong secret", lambda key: bearer(_altered(key)), (401, "invalid_key")),
    ("6.8.5b", "other environment", lambda key: bearer(key._replace(environment="x")), (401, "invalid_key")),
    ("6.8.5c", "cut short", lambda key: bearer(key.text[:-1]), (401, "invalid_key")),
    ("6.8.9", "two headers", lambda key: [*bearer(key).items()] * 2, (400, "bad_header")),
    ("6.8.10", "a newline", lambda key: _raw(f"Bearer {key.text}\n"), (400, "bad_header")),
    ("6.8.11", "10 kB", lambda key: bearer("sgk_" + "a" * 10_000), (401, "invalid_key")),
    ("6.8.11b", "100 kB", lambda key: bearer("a" * 100_000), (431, "headers_too_large")),
    ("6.8.12", "not ASCII", lambda key: _raw("Bearer sgk_\u00e9"), (401, "invalid_key")),
    ("6.8.12b", "digits of another script", lambda key: _raw("Bearer sgk_\uff11"), (401, "invalid_key")),
]


@pytest.mark.parametrize(("number", "name", "headers", "expected"), BAD, ids=[f"{b[0]} {b[1]}" for b in BAD])
def test_6_8_a_bad_credential_is_refused(
    guarded: TestClient, store: JobStore, key: Key, number: str, name: str, headers: Any, expected: Any
) -> None:
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/job_x")):
        reply = guarded.request(method, path, headers=headers(key))
        assert_problem(reply, *expected)
        assert key.secret not in reply.text
        if expected[0] == 401:
            assert reply.headers["www-authenticate"].startswith('Bearer realm="ganserve"')
    assert store.list("default") == []


def test_6_8_6_a_revoked_key_is_refused_within_seconds(
    guarded: TestClient, access: Access, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded.get("/v1/jobs", headers=bearer(key)).status_code == 200
    access.revoke(key.id)
    wait_out_the_cache(guarded, monkeypatch)
    assert_problem(guarded.get("/v1/jobs", headers=bearer(key)), 401, "invalid_key")


def test_6_8_7_an_expired_key_is_refused(guarded: TestClient, access: Access) -> None:
    _, key = access.create_key("default", READ, life_s=-1)
    reply = guarded.get("/v1/jobs", headers=bearer(key))
    assert_problem(reply, 401, "invalid_key")
    assert "expired" in reply.json()["detail"]


def test_only_who_has_the_secret_learns_why_a_key_is_refused(guarded: TestClient, access: Access) -> None:
    _, key = access.create_key("default", READ, life_s=-1)
    details = [
        guarded.get("/v1/jobs", headers=bearer(text)).json()["detail"]
        for text in (_altered(key), new_key("live").text)
    ]
    assert details[0] == details[1]


@pytest.mark.parametrize("name", ["api_key", "key", "access_token", "Authorization", "anything"])
def test_6_8_8_a_key_in_the_address_is_refused(guarded: TestClient, key: Key, name: str) -> None:
    for path in ("/v1/jobs", "/v1/models"):
        reply = guarded.get(path, params={name: key.text})
        assert_problem(reply, 401, "unauthorized")
        assert "Authorization header" in reply.json()["detail"]
        # Not even beside a good one: it is in somebody's log by now.
        assert_problem(guarded.get(path, params={name: key.text}, headers=bearer(key)), 401, "unauthorized")


def test_6_8_13_a_reading_key_may_not_write(guarded: TestClient, access: Access) -> None:
    _, key = access.create_key("default", READ)
    for method, path in (
        ("POST", "/v1/jobs"),
        ("POST", "/v1/images"),
        ("POST", "/v1/jobs/job_x/cancel"),
        ("DELETE", "/v1/jobs/job_x"),
    ):
        reply = guarded.request(method, path, headers=bearer(key))
        assert_problem(reply, 403, "insufficient_scope")
        assert 'error="insufficient_scope", scope="jobs:write"' in reply.headers["www-authenticate"]


def test_6_8_14_importing_models_needs_its_scope(guarded: TestClient, access: Access, key: Key) -> None:
    content, octets = b"PK\x03\x04" + bytes(20), {"Content-Type": "application/octet-stream"}
    reply = guarded.post("/v1/models?name=mine", content=content, headers=bearer(key) | octets)
    assert_problem(reply, 403, "insufficient_scope")
    for scope in (Scope.MODELS_ADMIN, Scope.ADMIN):
        _, other = access.create_key("default", (scope,))
        reply = guarded.post("/v1/models?name=mine", content=content, headers=bearer(other) | octets)
        assert reply.status_code == 202


def test_6_8_15_a_suspended_tenant_is_refused_and_may_come_back(
    guarded: TestClient, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    access.create_tenant("acme")
    _, key = access.create_key("acme", WRITE)
    access.suspend("acme")
    assert_problem(guarded.get("/v1/jobs", headers=bearer(key)), 403, "tenant_suspended")
    access.resume("acme")
    wait_out_the_cache(guarded, monkeypatch)
    assert guarded.get("/v1/jobs", headers=bearer(key)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        {"X-Tenant-Id": "other"},
        {"X-Tenant": "other"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Forwarded-User": "admin"},
    ],
    ids=["6.8.16", "6.8.16b", "6.8.17", "6.8.18", "6.8.16c"],
)
def test_6_8_what_a_caller_says_of_itself_is_ignored(
    guarded: TestClient, store: JobStore, access: Access, key: Key, header: dict[str, str]
) -> None:
    access.create_tenant("other")
    assert_problem(guarded.post("/v1/jobs", json=generate(), headers=header), 401, "unauthorized")
    reply = guarded.post("/v1/jobs", json=generate(), headers=bearer(key) | header)
    assert reply.status_code == 202
    assert [row.id for row in store.list("default")] == [reply.json()["id"]]


def test_nothing_is_read_of_a_body_whose_sender_is_unknown(guarded: TestClient) -> None:
    reply = guarded.post("/v1/jobs", content=b"x" * 10_000_000)
    assert_problem(reply, 401, "unauthorized")


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/errors/quota"])
def test_pages_and_probes_need_no_key(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code == 200


def test_a_gateway_with_keys_shows_no_metrics_to_callers(guarded: TestClient, key: Key) -> None:
    assert_problem(guarded.get("/metrics", headers=bearer(key)), 404, "not_found")


def test_a_file_is_reached_by_its_signed_link_alone(
    guarded: TestClient, worker: Any, access: Access, key: Key
) -> None:
    job = guarded.post("/v1/jobs", json=generate(), headers=bearer(key)).json()
    worker.succeed(job["id"], {"a.png": png()})
    output = guarded.get(f"/v1/jobs/{job['id']}", headers=bearer(key)).json()["outputs"][0]
    assert guarded.get(output["url"]).content == png()
    assert_problem(guarded.get(output["url"].replace("a.png", "b.png")), 403, "bad_signature")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_may_name_any_host(guarded: TestClient, path: str) -> None:
    assert guarded.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200
    assert_problem(guarded.get("/v1/jobs", headers={"Host": "10.1.2.3:8000"}), 400, "foreign_host")


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ((), "api.example", 400),
        (("api.example",), "api.example", 200),
        (("api.example",), "API.example:8000", 200),
        (("api.example",), "www.api.example", 400),
        (("*",), "anything.example", 200),
    ],
)
def test_a_gateway_with_keys_may_have_more_names(
    make_guarded: Callable[..., FastAPI], key: Key, allowed: tuple[str, ...], host: str, status: int
) -> None:
    with TestClient(make_guarded({"allowed_hosts": allowed}), base_url=BASE) as client:
        headers = bearer(key) | {"Host": host}
        assert client.get("/v1/models", headers=headers).status_code == status
        # A page of another site is none of ours, whatever names we have.
        foreign = client.post(
            "/v1/jobs", json=generate(), headers=headers | {"Origin": "https://evil.example"}
        )
        assert foreign.status_code in (400, 403)


def test_one_tenant_cannot_take_all_streams(
    make_guarded: Callable[..., FastAPI], access: Access, store: JobStore
) -> None:
    keys = {}
    for name in ("greedy", "other"):
        access.create_tenant(name)
        keys[name] = bearer(access.create_key(name, WRITE)[1])
    app = make_guarded(max_streams=8)
    with TestClient(app, base_url=BASE) as client:
        streams = app.state.streams
        with streams.slot("greedy"), streams.slot("greedy"):
            jobs = {t: client.post("/v1/jobs", json=generate(), headers=keys[t]).json()["id"] for t in keys}
            refused = client.get(f"/v1/jobs/{jobs['greedy']}?wait=1", headers=keys["greedy"])
            assert_problem(refused, 429, "too_many_streams")
            assert client.get(f"/v1/jobs/{jobs['other']}?wait=1", headers=keys["other"]).status_code == 200
        assert client.get(f"/v1/jobs/{jobs['greedy']}?wait=1", headers=keys["greedy"]).status_code == 200


def test_a_key_is_marked_as_used_at_most_once_a_minute(
    guarded: TestClient, access: Access, store: JobStore, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    touch = Access.touch
    monkeypatch.setattr(Access, "touch", lambda self, id: (written.append(id), touch(self, id)))
    for _ in range(5):
        assert guarded.get("/v1/jobs", headers=bearer(key)).status_code == 200
    wait_out_the_cache(guarded, monkeypatch)
    assert guarded.get("/v1/jobs", headers=bearer(key)).status_code == 200
    assert written == [key.id]
    [row] = access.keys()
    assert row.last_used_at is not None and row.last_used_at >= row.created_at


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Everything that the gateway writes while the test runs, by structlog and by logging."""
    found: list[str] = []

    def keep(logger: Any, method: str, event: dict[str, Any]) -> Any:
        found.append(repr(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    caplog.set_level(logging.DEBUG)
    yield found
    structlog.configure(**before)


def test_no_log_line_holds_a_live_key(
    guarded: TestClient,
    access: Access,
    store: JobStore,
    key: Key,
    lines: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Good calls, refused ones, keys in every wrong place, and errors that nobody foresaw."""
    good = bearer(key)
    guarded.post("/v1/jobs", json=generate(metadata={"a": "b"}), headers=good)
    guarded.get("/v1/jobs", params={"api_key": key.text})
    guarded.get(f"/v1/jobs/{key.text}", headers=good)
    guarded.get(f"/{key.text}")
    guarded.get("/v1/jobs", params={"cursor": key.text}, headers=good)
    guarded.post("/v1/jobs", json=generate(model=key.text), headers=good)
    guarded.post("/v1/jobs", json={key.text: 1}, headers=good)
    guarded.get("/v1/jobs", headers=good | {"X-Request-Id": key.text.replace("_", " ")})
    guarded.get("/v1/jobs", headers=good | {"Host": key.text})
    guarded.request(key.text.upper(), "/v1/jobs", headers=good)
    guarded.post("/v1/images", files={"file": (key.text, png())}, headers=good)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(store, "list", broken)
    assert guarded.get("/v1/jobs", headers=good).status_code == 500
    wait_out_the_cache(guarded, monkeypatch)
    monkeypatch.setattr(Access, "look_up", broken)
    assert guarded.get("/v1/jobs", headers=good).status_code == 500
    ours = [record for record in caplog.records if record.name != "httpx2"]  # the caller's own log
    written = "\n".join([*lines, *map(caplog.handler.format, ours)])
    assert len(lines) >= 12 and "nobody foresaw this" in written
    assert key.id in written  # the log does say which key it was
    assert key.secret not in written and key.secret.upper() not in written


def test_every_route_is_closed_or_says_that_it_is_open(make_app: Callable[..., FastAPI]) -> None:
    """What is open is listed here, and nothing that is open asks who calls."""
    from api.app import ROUTERS

    opened = set()
    for route in (route for routes in ROUTERS for route in routes.router.routes):
        for method in route.methods:
            if needed_scope(route.dependant, method) is None:
                opened.add(route.path)
                calls = _calls(route.dependant)
                assert tenant not in calls and not any(isinstance(c, Require) for c in calls)
                assert public in calls
    assert opened == {
        "/",
        "/docs",
        "/errors/{code}",
        "/healthz",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/v1/blobs/{key:path}",
    }


def _calls(dependant: Any) -> set[Any]:
    return {d.call for d in dependant.dependencies}.union(*(_calls(d) for d in dependant.dependencies))


def test_without_keys_everybody_is_the_default_tenant_with_every_scope(client: TestClient) -> None:
    assert client.post("/v1/jobs", json=generate()).status_code == 202
    assert client.post("/v1/jobs", json=generate(), headers=bearer("whatever")).status_code == 202
    assert set(ALL_SCOPES) == set(Scope)


def test_the_interface_says_which_scope_each_call_needs(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    shown = {
        (method, path): operation["security"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert shown["post", "/v1/jobs"] == [{"key": ["jobs:write"]}]
    assert shown["post", "/v1/models"] == [{"key": ["models:admin"]}]
    assert shown["get", "/healthz"] == shown["get", "/v1/blobs/{key}"] == []
    assert not re.search("sgk_live", str(document))
