"""evaluate at the gateway: what it refers to must be there, and the model must fit."""

import json

import pytest
from starlette.testclient import TestClient

from jobs.settings import Settings

from .conftest import CARD, Worker, png, submit
from .test_bad_input import assert_problem

JOB = "job_" + "0" * 26


@pytest.fixture
def of_the_world(settings: Settings) -> str:
    """A model that was trained on the world."""
    folder = settings.model_repo / "people"
    folder.mkdir()
    card = CARD | {"name": "people", "training": {"world": "portraits"}}
    (folder / "card.json").write_text(json.dumps(card))
    return "people"


def evaluation(model: str = "faces", **given: object) -> dict[str, object]:
    return {"kind": "evaluate", "model": model, "input": given}


def uploaded(client: TestClient, count: int) -> list[str]:
    def upload(width: int) -> str:
        reply = client.post("/v1/images", content=png(width), headers={"Content-Type": "image/png"})
        return reply.json()["id"]

    return [upload(32 + i) for i in range(count)]


def test_every_default_comes_back(client: TestClient, of_the_world: str) -> None:
    given = client.post("/v1/jobs", json={"kind": "evaluate", "model": of_the_world}).json()["input"]
    assert given == {
        "metrics": ["fid", "kid", "pr", "factors"],
        "count": 2000,
        "reference": "world",
        "psi": 1.0,
        "class": None,
        "seed": 0,
        "path": {"space": "w", "sampling": "full"},
        "edits": [],
    }


def test_a_model_of_no_world_needs_pictures(client: TestClient) -> None:
    reply = client.post("/v1/jobs", json=evaluation())
    assert_problem(reply, 422, "unsupported_by_model")
    assert "give pictures" in reply.json()["detail"]


def test_uploaded_pictures_are_a_reference(client: TestClient) -> None:
    images = uploaded(client, 16)
    assert (
        client.post("/v1/jobs", json=evaluation(reference={"images": images}, metrics=["fid"])).status_code
        == 202
    )
    missing = [*images[1:], "img_" + "0" * 64]
    reply = client.post("/v1/jobs", json=evaluation(reference={"images": missing}, metrics=["fid"]))
    assert_problem(reply, 422, "unknown_image")


def test_the_pictures_of_an_earlier_job_are_a_reference(client: TestClient, worker: Worker) -> None:
    many, few = submit(client)["id"], submit(client)["id"]
    worker.succeed(many, {f"image_{i}.png": png() for i in range(16)})
    worker.succeed(few, {f"image_{i}.png": png() for i in range(15)})

    def answer(job: str) -> object:
        return client.post("/v1/jobs", json=evaluation(reference={"job": job}, metrics=["kid"]))

    assert answer(many).status_code == 202
    assert_problem(answer(few), 422, "unknown_artifact")
    assert_problem(answer(JOB), 422, "unknown_artifact")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"metrics": ["psnr"]}, "input.metrics.0"),
        ({"count": 10**6}, "input.count"),
        ({"reference": "imagenet"}, "input.reference"),
        ({"reference": {"images": []}}, "input.reference.images"),
        ({"folder": "/etc"}, "input.folder"),
    ],
)
def test_what_is_not_in_the_contract_is_refused_by_its_path(
    client: TestClient, of_the_world: str, given: dict[str, object], path: str
) -> None:
    reply = client.post("/v1/jobs", json=evaluation(of_the_world, **given))
    assert_problem(reply, 422, "invalid_request")
    assert path in [error["path"] for error in reply.json()["errors"]]
