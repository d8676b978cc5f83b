import hashlib
import io

from PIL import Image
from starlette.testclient import TestClient

from jobs.blobs.directory import DirectoryBlobStore
from jobs.queue import MemoryJobQueue
from jobs.schemas import ImportRequest
from jobs.store import JobStore, ModelRow

from .conftest import BASE, CARD, png, sent

PICKLE = b"\x80\x02}q\x00."


def test_models_are_listed_with_their_cards(client: TestClient) -> None:
    models = client.get("/v1/models").json()["data"]
    assert [model["name"] for model in models] == ["digits", "faces"]
    assert models[1]["licence"] == "Apache-2.0"
    assert models[1]["urls"]["self"] == f"{BASE}/v1/models/faces"


def test_a_model_shows_its_spaces_and_directions(client: TestClient) -> None:
    model = client.get("/v1/models/faces").json()
    assert model["spaces"] == ["z", "w", "w+"]
    assert [direction["name"] for direction in model["directions"]] == ["smile"]
    assert client.get(model["urls"]["directions"]).json()["data"] == model["directions"]


def test_samples_are_a_picture_that_can_be_cached(client: TestClient) -> None:
    reply = client.get("/v1/models/faces/samples.png")
    assert Image.open(io.BytesIO(reply.content)).format == "PNG"
    assert reply.headers["content-type"] == "image/png"
    assert client.get(reply.url, headers={"If-None-Match": reply.headers["etag"]}).status_code == 304


def test_an_imported_model_is_listed_with_its_samples(
    client: TestClient, store: JobStore, blobs: DirectoryBlobStore
) -> None:
    prefix = "t/default/m/mine/abc/"
    store.put_model(
        "default", ModelRow("mine", "cd" * 32, prefix, CARD | {"name": "mine", "sha256": "cd" * 32})
    )
    assert client.get("/v1/models/mine").status_code == 200
    assert client.get("/v1/models/mine/samples.png").status_code == 404
    blobs.write(prefix + "samples.png", png(), media_type="image/png")
    assert client.get("/v1/models/mine/samples.png").content == png()


def test_weights_can_be_taken_away_whole_or_in_parts(
    client: TestClient, store: JobStore, blobs: DirectoryBlobStore
) -> None:
    reply = client.get("/v1/models/faces/weights")
    assert (reply.status_code, reply.content) == (200, b"weights of faces")
    assert reply.headers["content-disposition"] == 'attachment; filename="faces.safetensors"'
    assert client.get(reply.url, headers={"Range": "bytes=8-9"}).content == b"of"
    assert client.get(reply.url, headers={"If-None-Match": reply.headers["etag"]}).status_code == 304

    prefix, sha256 = "t/default/m/mine/abc/", "cd" * 32
    store.put_model("default", ModelRow("mine", sha256, prefix, CARD | {"name": "mine", "sha256": sha256}))
    assert client.get("/v1/models/mine/weights").status_code == 410
    blobs.write(prefix + "weights.safetensors", b"mine", media_type="application/octet-stream")
    reply = client.get("/v1/models/mine/weights")
    assert (reply.content, reply.headers["etag"]) == (b"mine", f'"{sha256}"')
    assert client.get(reply.url, headers={"If-None-Match": "*"}).status_code == 304
    assert client.get("/v1/models/nobody/weights").status_code == 404


def test_an_upload_is_quarantined_and_an_import_is_queued(
    client: TestClient, store: JobStore, blobs: DirectoryBlobStore, queue: MemoryJobQueue
) -> None:
    reply = client.post(
        "/v1/models?name=mine&licence=MIT",
        content=PICKLE,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert reply.status_code == 202
    job = reply.json()
    assert (job["kind"], job["model"], job["status"]) == ("import", "mine", "queued")
    assert reply.headers["location"] == job["urls"]["self"]
    request = store.get("default", job["id"]).request
    assert isinstance(request, ImportRequest)
    assert request.input.sha256 == hashlib.sha256(PICKLE).hexdigest()
    assert request.input.licence == "MIT"
    assert blobs.read(request.input.upload) == PICKLE
    assert request.input.upload.startswith("t/default/u/")
    assert [(job_id, kind) for job_id, kind, _ in sent(queue, 1)] == [(job["id"], "import")]


def test_a_form_imports_as_well_and_a_key_replays(client: TestClient, queue: MemoryJobQueue) -> None:
    replies = [
        client.post(
            "/v1/models",
            data={"name": "mine"},
            files={"file": ("model.pkl", PICKLE)},
            headers={"Idempotency-Key": "k"},
        )
        for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [202, 202]
    assert replies[0].json()["id"] == replies[1].json()["id"]
    assert len(sent(queue, 1)) == 1


def test_an_import_cannot_be_submitted_as_a_job(client: TestClient) -> None:
    body = {"kind": "import", "model": "mine", "input": {"upload": "t/default/u/x", "sha256": "0" * 64}}
    reply = client.post("/v1/jobs", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_request")
