"""Sets of directions over HTTP: brought, listed, named by jobs, removed."""

import io

import numpy as np
import pytest
from starlette.testclient import TestClient

from jobs.access import Scope
from jobs.blobs.directory import DirectoryBlobStore
from jobs.discovery import DirectionsImport
from jobs.queue import MemoryJobQueue
from jobs.store import DirectionSetRow, JobStore
from jobs.store.access import Access

from .conftest import bearer, generate, sent

HERE = "/v1/models/faces/directions"
OCTETS = {"Content-Type": "application/octet-stream"}
ENTRY = {"name": "wide", "space": "w", "layers": None, "unit": "sigma", "moves": {"jaw": 0.9}}
SET = DirectionSetRow("faces", "mine", "ab" * 32, "t/default/d/faces/mine/job/", 70, [ENTRY])


def vector() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones((1, 8), np.float32))
    return file.getvalue()


def edit(name: str) -> dict:
    operations = [{"op": "direction", "name": name}]
    return generate(kind="edit", input={"source": {"seeds": [1]}, "operations": operations})


def discover(**given: object) -> dict:
    return generate(kind="discover", input={"method": "sefa", "name": "new"} | given)


def test_a_file_is_quarantined_and_a_discover_job_queued(
    client: TestClient, store: JobStore, blobs: DirectoryBlobStore, queue: MemoryJobQueue
) -> None:
    reply = client.post(f"{HERE}?set=pose&space=w&first=4&licence=MIT", content=vector(), headers=OCTETS)
    assert reply.status_code == 202, reply.text
    job = reply.json()
    assert (job["kind"], job["model"]) == ("discover", "faces")
    assert reply.headers["location"] == job["urls"]["self"]
    given = store.get("default", job["id"]).request.input
    assert isinstance(given, DirectionsImport)
    assert (given.name, given.space, given.first, given.licence) == ("pose", "w", 4, "MIT")
    assert blobs.read(given.upload) == vector()
    assert [lane for _, _, lane in sent(queue, 1)] == ["1-normal.import"]


def test_a_direction_has_a_picture_that_only_its_tenant_sees(
    client: TestClient, store: JobStore, blobs: DirectoryBlobStore
) -> None:
    shown = DirectionSetRow("faces", "mine", "ab" * 32, SET.prefix, 70, [ENTRY | {"strip": "wide.png"}])
    store.put_directions("default", shown)
    blobs.write(SET.prefix + "wide.png", b"\x89PNG", media_type="image/png")
    listed = {entry["name"]: entry["strip"] for entry in client.get(HERE).json()["data"]}
    assert listed["wide"].endswith(f"{HERE}/wide/strip.png")
    assert all(strip is None for name, strip in listed.items() if name != "wide")
    reply = client.get(f"{HERE}/wide/strip.png")
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"\x89PNG", "image/png")
    etag = reply.headers["etag"]
    assert client.get(f"{HERE}/wide/strip.png", headers={"If-None-Match": etag}).status_code == 304
    assert client.get(f"{HERE}/narrow/strip.png").status_code == 404

    store.delete_directions("default", "faces", "mine")
    store.put_directions("other", shown)
    assert client.get(f"{HERE}/wide/strip.png").status_code == 404


def test_a_form_brings_as_well(client: TestClient) -> None:
    fields = {"set": "pose", "first": "4"}
    reply = client.post(HERE, data=fields, files={"file": ("pose.npy", vector())})
    assert reply.status_code == 202 and reply.json()["input"]["first"] == 4
    assert client.post(HERE, data={"colour": "red"}, files={"file": ("a", vector())}).status_code == 422


def test_a_set_is_listed_named_by_edits_and_removed(client: TestClient, store: JobStore) -> None:
    store.put_directions("default", SET)
    listed = {d["name"]: d for d in client.get(HERE).json()["data"]}
    assert (listed["wide"]["set"], listed["wide"]["moves"]) == ("mine", {"jaw": 0.9})
    assert listed["smile"]["set"] == "sefa"
    assert client.post("/v1/jobs", json=edit("wide")).status_code == 202

    assert client.delete(f"{HERE}/mine").status_code == 204
    assert client.delete(f"{HERE}/mine").status_code == 404
    assert client.delete(f"{HERE}/sefa").status_code == 404  # comes with the model
    assert client.post("/v1/jobs", json=edit("wide")).json()["code"] == "unknown_direction"


def test_6_4_31_a_name_that_a_set_has_is_refused(client: TestClient, store: JobStore) -> None:
    store.put_directions("default", SET)
    for name in ("mine", "sefa", "smile"):
        upload = client.post(HERE, params={"set": name}, content=vector(), headers=OCTETS)
        job = client.post("/v1/jobs", json=discover(name=name))
        for reply in (upload, job):
            assert (reply.status_code, reply.json()["code"]) == (409, "name_taken")


def test_6_4_34_a_name_that_comes_with_the_model_is_refused(client: TestClient) -> None:
    reply = client.post(HERE, params={"set": "smile"}, content=vector(), headers=OCTETS)
    assert (reply.status_code, reply.json()["code"]) == (409, "name_taken")


def test_6_4_36_directions_for_other_weights_are_refused(client: TestClient, store: JobStore) -> None:
    other = {"set": "pose", "model_sha256": "cd" * 32}
    reply = client.post(HERE, params=other, content=vector(), headers=OCTETS)
    assert (reply.status_code, reply.json()["code"]) == (409, "model_mismatch")
    same = other | {"model_sha256": "ab" * 32}
    assert client.post(HERE, params=same, content=vector(), headers=OCTETS).status_code == 202

    old = DirectionSetRow("faces", "old", "cd" * 32, "t/default/d/faces/old/job/", 70, [ENTRY])
    store.put_directions("default", old)
    reply = client.post("/v1/jobs", json=edit("wide"))
    assert (reply.status_code, reply.json()["code"]) == (409, "model_mismatch")


def test_6_4_40_a_strength_over_the_cap_is_refused_for_own_directions_too(
    client: TestClient, store: JobStore
) -> None:
    store.put_directions("default", SET)
    body = edit("wide")
    body["input"]["operations"][0]["strength"] = 101
    reply = client.post("/v1/jobs", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")


def test_6_4_41_another_tenants_set_is_absent(guarded: TestClient, access: Access, store: JobStore) -> None:
    access.create_tenant("ours")
    ours = bearer(access.create_key("ours", (Scope.ADMIN,))[1])
    store.put_directions("theirs", SET)
    reply = guarded.delete(f"{HERE}/mine", headers=ours)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert "wide" not in guarded.get(HERE, headers=ours).text
    reply = guarded.post("/v1/jobs", json=edit("wide"), headers=ours)
    assert (reply.status_code, reply.json()["code"]) == (422, "unknown_direction")
    assert guarded.post("/v1/jobs", json=discover(name="mine"), headers=ours).status_code == 202
    assert store.get_directions("theirs", "faces", "mine").name == "mine"


def test_bringing_and_removing_need_a_scope_of_their_own(guarded: TestClient, access: Access) -> None:
    access.create_tenant("ours")
    key = bearer(access.create_key("ours", (Scope.JOBS_READ, Scope.JOBS_WRITE))[1])
    for reply in (
        guarded.post(f"{HERE}?set=a", content=vector(), headers=key | OCTETS),
        guarded.delete(f"{HERE}/a", headers=key),
    ):
        assert (reply.status_code, reply.json()["code"]) == (403, "insufficient_scope")


BAD = {
    "empty": (b"", {}, (422, "bad_checkpoint")),
    "text": (b"age,0.1,0.2\n", {}, (415, "unsupported_media_type")),
    "other hash": (vector(), {"sha256": "0" * 64}, (422, "hash_mismatch")),
    "no name": (vector(), {"set": None}, (422, "invalid_request")),
    "name with dots": (vector(), {"set": "a..b"}, (422, "invalid_request")),
    "long name": (vector(), {"set": "a" * 57}, (422, "invalid_request")),
    "space s": (vector(), {"space": "s"}, (422, "invalid_request")),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_uploads_are_refused_and_leave_nothing(client: TestClient, store: JobStore, case: str) -> None:
    body, query, answer = BAD[case]
    params = {name: value for name, value in ({"set": "pose"} | query).items() if value is not None}
    reply = client.post(HERE, params=params, content=body, headers=OCTETS)
    assert (reply.status_code, reply.json()["code"]) == answer
    assert store.list("default") == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"method": "import", "upload": "t/default/u/x", "sha256": "0" * 64}, "invalid_request"),
        ({"method": "magic"}, "invalid_request"),
        ({"layers": "3-9"}, "invalid_request"),
        ({"method": "ganspace", "components": 9}, "invalid_request"),
        ({"method": "stylespace", "factor": "smile"}, "unsupported_by_model"),
        ({"method": "interfacegan", "factor": "smile"}, "unsupported_by_model"),
        ({"method": "interfacegan", "factor": "smile", "keep": ["smile"]}, "invalid_request"),
        ({"method": "interfacegan", "factor": "smile", "samples": 200}, "invalid_request"),
        ({"method": "styleflow", "attributes": ["smile"]}, "unsupported_by_model"),
        ({"method": "styleflow", "attributes": ["smile", "smile"]}, "invalid_request"),
        ({"method": "styleflow", "attributes": []}, "invalid_request"),
        ({"method": "dissect", "features": ["b4.conv1"]}, "unsupported_by_model"),
        ({"method": "dissect", "features": ["b4.conv1", "b4.conv1"]}, "invalid_request"),
        ({"method": "dissect", "features": []}, "invalid_request"),
        ({"method": "eigengan"}, "unsupported_by_model"),
        ({"method": "higan", "factor": "smile"}, "unsupported_by_model"),
        ({"method": "hessian", "space": "s"}, "invalid_request"),
        ({"method": "attfind", "factor": "smile"}, "unsupported_by_model"),
        ({"method": "stylespace_local", "part": "Hair!"}, "invalid_request"),
        ({"method": "ganspace_features", "layer": "../x"}, "invalid_request"),
        ({"class": 1}, "unsupported_by_model"),
    ],
)
def test_what_the_model_cannot_be_asked_is_refused_at_once(
    client: TestClient, given: dict, code: str
) -> None:
    reply = client.post("/v1/jobs", json=discover(**given))
    assert (reply.status_code, reply.json()["code"]) == (422, code), reply.text


def test_a_model_with_classes_needs_one(client: TestClient) -> None:
    body = discover() | {"model": "digits"}
    assert client.post("/v1/jobs", json=body).json()["code"] == "invalid_request"
    assert client.post("/v1/jobs", json=body | {"input": body["input"] | {"class": 3}}).status_code == 202
