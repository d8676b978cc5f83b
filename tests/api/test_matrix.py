"""Every route against what belongs to another tenant: as absent as what does not exist.

Generated from the application's routes. A route without a row in `MATRIX`, or a field of a body that names a
thing without a row in `BODIES`, fails the build: whoever adds one says here what becomes of foreign ids.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from api.app import ROUTERS
from jobs.access import Scope
from jobs.schemas import submit_adapter
from jobs.store import DirectionSetRow, JobStore, ModelRow
from jobs.store.access import Access

from .conftest import CARD, Worker, bearer, generate, png

UNKNOWN = {
    "job_id": "job_" + "0" * 26,
    "image_id": "img_" + "0" * 64,
    "name": "nowhere",
    "webhook_id": "whk_" + "0" * 26,
    "delivery_id": "dlv_" + "0" * 26,
    "set_name": "nothing",
    "direction": "nothing",
}
"""By the name of the parameter: a well-formed id that nothing has."""


@dataclass(frozen=True)
class Absent:
    """A foreign id is answered as an unknown one: 404. `own` is what its owner gets."""

    own: int = 200
    body: dict[str, Any] | None = None
    send: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Nothing:
    """No id in the address: the answer holds nothing of another tenant."""

    send: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Signed:
    """The link's signature lets in, whoever follows it; without it foreign and unknown are one."""


@dataclass(frozen=True)
class Everybodys:
    """Belongs to no tenant."""


OCTETS = {"Content-Type": "application/octet-stream"}
JOB = "/v1/jobs/{job_id}"
HOOK = "/v1/webhooks/{webhook_id}"
DELIVERY = "/v1/webhooks/deliveries/{delivery_id}"
MATRIX: dict[tuple[str, str], Absent | Nothing | Signed | Everybodys] = {
    ("GET", JOB): Absent(),
    ("GET", f"{JOB}/events"): Absent(),
    ("POST", f"{JOB}/cancel"): Absent(own=409),  # it has succeeded
    ("POST", f"{JOB}/retry"): Absent(own=409),
    ("DELETE", JOB): Absent(own=204),
    ("POST", f"{JOB}/pause"): Absent(own=409),  # it is no dataset
    ("POST", f"{JOB}/resume"): Absent(own=409),
    ("POST", f"{JOB}/extend"): Absent(own=409, body={"count": 1}),
    ("GET", "/v1/batches"): Nothing(),
    ("POST", "/v1/batches"): Nothing(
        {
            "content": b'{"custom_id": "a", "body": {"kind": "generate", "model": "faces"}}',
            "headers": {"Content-Type": "application/jsonl"},
        }
    ),
    ("GET", "/v1/batches/{job_id}"): Absent(own=404),  # it is no batch
    ("POST", "/v1/batches/{job_id}/cancel"): Absent(own=404),
    ("POST", "/v1/estimates"): Nothing({"json": generate()}),
    ("GET", "/v1/jobs"): Nothing(),
    ("POST", "/v1/jobs"): Nothing({"json": generate()}),
    ("POST", "/v1/images"): Nothing({"content": png(), "headers": {"Content-Type": "image/png"}}),
    ("GET", "/v1/images/{image_id}"): Absent(),
    ("GET", "/v1/images/{image_id}/content"): Absent(),
    ("GET", "/v1/models"): Nothing(),
    ("POST", "/v1/models"): Nothing({"params": {"name": "theirs"}, "content": b"PK\x03\x04" + bytes(20)}),
    ("GET", "/v1/models/{name}"): Absent(),
    ("GET", "/v1/models/{name}/directions"): Absent(),
    ("POST", "/v1/models/{name}/directions"): Absent(
        own=202,
        send={"params": {"set": "pose"}, "content": b"PK\x03\x04" + bytes(20), "headers": OCTETS},
    ),
    ("DELETE", "/v1/models/{name}/directions/{set_name}"): Absent(own=204),
    ("GET", "/v1/models/{name}/directions/{direction}/strip.png"): Absent(),
    ("GET", "/v1/models/{name}/samples.png"): Absent(),
    ("GET", "/v1/models/{name}/weights"): Absent(),
    ("GET", "/v1/webhooks"): Nothing(),
    ("POST", "/v1/webhooks"): Nothing({"json": {"url": "https://1.1.1.1/x"}}),
    ("GET", HOOK): Absent(),
    ("PATCH", HOOK): Absent(body={"description": "mine now"}),
    ("GET", f"{HOOK}/secret"): Absent(),
    ("GET", f"{HOOK}/deliveries"): Absent(),
    ("POST", f"{HOOK}/test"): Absent(own=202),
    ("POST", f"{HOOK}/rotate"): Absent(body={}),
    ("DELETE", HOOK): Absent(own=204),
    ("GET", DELIVERY): Absent(),
    ("POST", f"{DELIVERY}/resend"): Absent(own=409),  # it waits already
    ("GET", "/v1/usage"): Nothing(),
    ("GET", "/v1/blobs/{key:path}"): Signed(),
    ("GET", "/errors/{code}"): Everybodys(),
    ("GET", "/"): Nothing(),
    ("GET", "/docs"): Nothing(),
    ("GET", "/openapi.json"): Nothing(),
    ("GET", "/healthz"): Nothing(),
    ("GET", "/readyz"): Nothing(),
    ("GET", "/metrics"): Nothing(),
}


def routes() -> dict[tuple[str, str], APIRoute]:
    found = (route for routes in ROUTERS for route in routes.router.routes)
    return {(method, route.path): route for route in found for method in route.methods}


def test_every_route_has_its_row_and_every_row_its_route() -> None:
    assert set(routes()) == set(MATRIX)
    for (_, path), row in MATRIX.items():
        named = set(re.findall(r"\{(\w+)", path))
        assert isinstance(row, Nothing) == (not named), path
        assert not isinstance(row, Absent) or named <= set(UNKNOWN), path


@dataclass
class Tenants:
    """`ours` and `theirs` each have a key for everything; `things` are theirs."""

    ours: dict[str, str]
    theirs: dict[str, str]
    things: dict[str, str]


@pytest.fixture
def tenants(
    guarded: TestClient, access: Access, store: JobStore, worker: Worker, tenants_things: Callable[..., Any]
) -> Tenants:
    for name in ("ours", "theirs"):
        access.create_tenant(name)
    ours, theirs = (bearer(access.create_key(name, (Scope.ADMIN,))[1]) for name in ("ours", "theirs"))
    return Tenants(ours, theirs, tenants_things(theirs))


@pytest.fixture
def tenants_things(guarded: TestClient, store: JobStore, worker: Worker, blobs: Any) -> Callable[..., Any]:
    def make(key: dict[str, str]) -> dict[str, str]:
        octets = {"Content-Type": "image/png"}
        image = guarded.post("/v1/images", content=png(48, 48), headers=key | octets).json()["id"]
        hook = guarded.post("/v1/webhooks", json={"url": "https://1.0.0.1/x"}, headers=key).json()["id"]
        job = guarded.post("/v1/jobs", json=generate(metadata={"secret": "masterplan"}), headers=key).json()[
            "id"
        ]
        worker.succeed(job, {"a.png": png()})
        blobs.write("t/theirs/m/samples.png", png(), media_type="image/png")
        blobs.write("t/theirs/m/weights.safetensors", b"weights", media_type="application/octet-stream")
        card = CARD | {"name": "theirs", "sha256": "cd" * 32}
        store.put_model("theirs", ModelRow("theirs", "cd" * 32, "t/theirs/m/", card))
        blobs.write("t/theirs/d/quokka.png", png(), media_type="image/png")
        quokka = {"name": "quokka", "space": "w", "strip": "quokka.png"}
        found = DirectionSetRow("theirs", "quokkas", "cd" * 32, "t/theirs/d/", 5, [quokka])
        store.put_directions("theirs", found)
        deliveries = guarded.get(f"/v1/webhooks/{hook}/deliveries", headers=key).json()["data"]
        delivery = deliveries[0]["id"]
        return {
            "job_id": job,
            "image_id": image,
            "name": "theirs",
            "webhook_id": hook,
            "delivery_id": delivery,
            "set_name": "quokkas",
            "direction": "quokka",
        }

    return make


def call(client: TestClient, method: str, path: str, key: dict[str, str], **send: Any) -> Any:
    return client.request(method, path, headers=key | send.pop("headers", {}), **send)


def masked(reply: Any, *ids: str) -> tuple[int, str]:
    text = re.sub(r"req_[0-9A-Z]{26}", "req", reply.text)
    for id in ids:
        text = text.replace(id, "ID")
    return reply.status_code, text


ABSENT = [key for key, row in MATRIX.items() if isinstance(row, Absent)]


@pytest.mark.parametrize(("method", "path"), ABSENT, ids=[" ".join(key) for key in ABSENT])
def test_a_foreign_id_is_as_absent_as_an_unknown_one(
    guarded: TestClient, tenants: Tenants, method: str, path: str
) -> None:
    row = MATRIX[method, path]
    assert isinstance(row, Absent)
    send: dict[str, Any] = row.send if row.body is None else {"json": row.body}
    things, names = tenants.things, re.findall(r"\{(\w+)\}", path)
    theirs = call(guarded, method, path.format(**things), tenants.ours, **send)
    unknown = call(guarded, method, path.format(**UNKNOWN), tenants.ours, **send)
    assert theirs.status_code == 404 and theirs.json()["code"] == "not_found"
    ids = [ids[name] for ids in (things, UNKNOWN) for name in names]
    # The hint that a model's name resembles another names only models that the caller sees.
    assert masked(theirs, *ids) == masked(unknown, *ids)
    own = call(guarded, method, path.format(**things), tenants.theirs, **send)
    assert own.status_code == row.own  # the row would prove nothing if its owner could not reach it, either


OPEN = [key for key, row in MATRIX.items() if isinstance(row, Nothing)]


@pytest.mark.parametrize(("method", "path"), OPEN, ids=[" ".join(key) for key in OPEN])
def test_an_answer_without_an_id_holds_nothing_of_another_tenant(
    guarded: TestClient, tenants: Tenants, method: str, path: str
) -> None:
    row = MATRIX[method, path]
    assert isinstance(row, Nothing)
    octets = {"headers": {"Content-Type": "application/octet-stream"}} if "content" in row.send else {}
    reply = call(guarded, method, path, tenants.ours, **octets | row.send)
    assert reply.status_code < 300 or path == "/metrics"
    ids = [id for name, id in tenants.things.items() if name != "name"]
    assert not [id for id in [*ids, "masterplan", "1.0.0.1", "t/theirs"] if id in reply.text]
    if path == "/v1/usage":
        assert reply.json()["tenant"] == "ours" and reply.json()["stored_bytes"]["used"] == 0
    if path == "/v1/models" and method == "GET":
        assert "theirs" not in [card["name"] for card in reply.json()["data"]]


def test_a_link_is_refused_alike_for_foreign_and_unknown_files(guarded: TestClient, tenants: Tenants) -> None:
    job = tenants.things["job_id"]
    params = {"expires": "9999999999", "filename": "a.png", "type": "image/png", "signature": "0" * 64}
    foreign = guarded.get(f"/v1/blobs/t/theirs/j/{job}/a/1/a.png", params=params)
    unknown = guarded.get("/v1/blobs/t/theirs/j/nothing/a/1/a.png", params=params)
    assert foreign.status_code == 403
    assert masked(foreign) == masked(unknown)


def _pictures(job: str | None = None, image: str | None = None) -> dict[str, Any]:
    images = None if image is None else [image, *(f"img_{n:064x}" for n in range(1, 16))]
    reference = {"job": job} if job else {"images": images}
    return generate(kind="evaluate", input={"metrics": ["fid"], "reference": reference})


def _restore(mask: str) -> dict[str, Any]:
    degradation = {"type": "mask", "image": mask}
    return generate(kind="invert", input={"images": [f"img_{'1' * 64}"], "degradation": degradation})


def _masked(mask: Any) -> dict[str, Any]:
    region = {"op": "region", "mask": mask, "operations": [{"op": "direction", "name": "smile"}]}
    return generate(kind="edit", input={"source": {"seeds": [1]}, "operations": [region]})


def _units(mask: str) -> dict[str, Any]:
    units = {"op": "units", "layer": "b8.conv0", "units": [0], "mask": mask}
    return generate(kind="edit", input={"source": {"seeds": [1]}, "operations": [units]})


BODIES: dict[tuple[str, str], tuple[str, Callable[[str], dict[str, Any]]]] = {
    ("ArtifactRef", "job"): (
        "job_id",
        lambda id: generate(input={"source": {"artifact": {"job": id, "name": "a.png"}}}),
    ),
    ("Source", "images"): (
        "image_id",
        lambda id: generate(
            kind="edit",
            input={"source": {"images": [id]}, "operations": [{"op": "direction", "name": "smile"}]},
        ),
    ),
    ("InvertInput", "images"): ("image_id", lambda id: generate(kind="invert", input={"images": [id]})),
    ("MaskDegradation", "image"): ("image_id", lambda id: _restore(mask=id)),
    ("UnitsOperation", "mask"): ("image_id", _units),
    ("RegionOperation", "mask"): ("image_id", _masked),
    ("Mask", "image"): ("image_id", lambda id: _masked({"image": id})),
    ("Pictures", "job"): ("job_id", lambda id: _pictures(job=id)),
    ("Pictures", "images"): ("image_id", lambda id: _pictures(image=id)),
    ("GenerateRequest", "model"): ("name", lambda id: generate(model=id)),
}
"""By schema and field: which thing it names, and a body that names it."""


def test_every_field_that_names_a_thing_has_its_row() -> None:
    found = {
        (name, field)
        for name, schema in submit_adapter.json_schema()["$defs"].items()
        for field, about in schema.get("properties", {}).items()
        if re.search(r"'pattern': '\^(job|img|whk|dlv)_", str(about))
    }
    assert found == set(BODIES) - {("GenerateRequest", "model")}


@pytest.mark.parametrize("where", BODIES, ids=".".join)
def test_a_foreign_thing_in_a_body_is_as_unknown_as_none(
    guarded: TestClient, tenants: Tenants, store: JobStore, where: tuple[str, str]
) -> None:
    """6.6.8, 6.6.9: what a job names must be the caller's own."""
    name, body = BODIES[where]
    foreign, unknown = tenants.things[name], UNKNOWN[name]
    theirs = call(guarded, "POST", "/v1/jobs", tenants.ours, json=body(foreign))
    none = call(guarded, "POST", "/v1/jobs", tenants.ours, json=body(unknown))
    assert theirs.status_code == 422 and theirs.json()["code"].startswith("unknown_")
    assert masked(theirs, foreign, unknown) == masked(none, foreign, unknown)
    assert store.list("ours") == []


def test_6_8_42_an_idempotency_key_is_its_tenants_own(guarded: TestClient, tenants: Tenants) -> None:
    replies = [
        call(guarded, "POST", "/v1/jobs", key, json=generate(), headers={"Idempotency-Key": "k"})
        for key in (tenants.ours, tenants.theirs)
    ]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json()["id"] != replies[1].json()["id"]


def test_6_7_10_a_cursor_is_its_tenants_own(guarded: TestClient, tenants: Tenants) -> None:
    for key in (tenants.ours, tenants.theirs):
        for _ in range(2):
            call(guarded, "POST", "/v1/jobs", key, json=generate())
    theirs = call(guarded, "GET", "/v1/jobs?limit=1", tenants.theirs).json()["next_cursor"]
    reply = call(guarded, "GET", "/v1/jobs", tenants.ours, params={"limit": 1, "cursor": theirs})
    assert (reply.status_code, reply.json()["code"]) == (400, "bad_cursor")


def test_the_same_picture_of_two_tenants_is_two(guarded: TestClient, tenants: Tenants) -> None:
    octets = {"Content-Type": "image/png"}
    reply = call(guarded, "POST", "/v1/images", tenants.ours, content=png(48, 48), headers=octets)
    assert reply.status_code == 201  # 200 would tell that another tenant has it
    assert reply.json()["id"] == tenants.things["image_id"]


def test_a_name_of_another_tenants_model_is_free(guarded: TestClient, tenants: Tenants) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    send = {"params": {"name": "theirs"}, "content": b"PK\x03\x04" + bytes(20), "headers": octets}
    assert call(guarded, "POST", "/v1/models", tenants.ours, **send).status_code == 202
