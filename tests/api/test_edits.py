"""edit at the gateway: what its operations refer to must be there, other models of the lineage."""

import json

import pytest

from tests.api.conftest import CARD, DIRECTIONS, png, submit

SMILE = {"op": "direction", "name": "smile"}
NO_IMAGE, NO_JOB = "img_" + "0" * 64, "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
ARTIFACT = {"artifact": {"job": NO_JOB, "name": "latents.safetensors"}}


def region(mask):
    return {"op": "region", "mask": mask, "operations": [SMILE]}


def asked(client, *operations):
    body = {"kind": "edit", "model": "faces", "input": {"source": {"seeds": [1]}, "operations": operations}}
    return client.post("/v1/jobs", json=body)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        (region(NO_IMAGE), "unknown_image"),
        (region({"image": NO_IMAGE, "invert": True}), "unknown_image"),
        ({"op": "mix", "with": ARTIFACT, "layers": "0"}, "unknown_artifact"),
        ({"op": "transfer", "from": {"seeds": [1]}, "to": ARTIFACT}, "unknown_artifact"),
        (region({"box": {"left": 0, "top": 0, "width": 1, "height": 1}}) | {"operations": [
            {"op": "average", "with": ARTIFACT}]}, "unknown_artifact"),
        ({"op": "swap_layers", "model": "nobody", "layers": "0"}, "unknown_model"),
        ({"op": "structure", "model": "other", "layers": "0"}, "unsupported_by_model"),
        ({"op": "units", "layer": "b8", "units": [0]}, "unsupported_by_model"),
    ],
)  # fmt: skip
def test_what_an_operation_refers_to_must_be_there(client, settings, operation, code):
    other = settings.model_repo / "other"
    other.mkdir()
    (other / "card.json").write_text(json.dumps(CARD | {"name": "other", "network": "stylegan2"}))
    reply = asked(client, operation)
    assert (reply.status_code, reply.json()["code"]) == (422, code), reply.text


def test_what_is_there_is_accepted(client, settings):
    card = CARD | {"network": "stylegan2", "architecture": {"w_dim": 8}}
    for name in ("faces", "child"):
        folder = settings.model_repo / name / "directions"
        folder.mkdir(parents=True, exist_ok=True)
        (folder.parent / "card.json").write_text(json.dumps(card | {"name": name}))
        (folder / "sefa.json").write_text(json.dumps(DIRECTIONS))
    image = client.post("/v1/images", content=png(), headers={"Content-Type": "image/png"}).json()["id"]
    swap = {"op": "swap_layers", "model": "child", "layers": "3-5"}
    reply = asked(client, SMILE, swap, region({"image": image, "feather": 2}))
    assert reply.status_code == 202, reply.text
    assert reply.json()["input"]["operations"][2]["blend"] == "features"


def test_a_row_keeps_operations_as_they_were_understood(client):
    inputs = {
        "source": {"seeds": [1]},
        "operations": [{"op": "mix", "with": {"seeds": "2-3"}, "layers": "0-1"}],
    }
    inputs["source"] = {"seeds": [1, 2]}
    job = submit(client, kind="edit", input=inputs)
    [operation] = job["input"]["operations"]
    assert operation["with"]["seeds"] == "2-3" and operation["strength"] == 1.0
