"""Checkpoints that come in over HTTP."""

import pickle
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from client.errors import JobUnsuccessful, StateConflict

from .conftest import MODEL, finished


def painted(client, model, folder):
    """The pixels of one seed, as bytes."""
    request = {"kind": "generate", "model": model, "input": {"source": {"seeds": [6]}}}
    [path] = client.download(finished(client, client.submit(request)), folder)
    with Image.open(BytesIO(path.read_bytes())) as picture:
        return picture.tobytes()


def test_an_imported_model_paints_what_the_original_paints_and_has_directions(client, model_repo, tmp_path):
    weights = model_repo / MODEL / "weights.safetensors"

    job = finished(client, client.import_model(weights, name="copy", licence="CC0-1.0"))

    assert job.result["model"] == "copy"
    card = client.model("copy")
    assert card["licence"] == "CC0-1.0"
    assert card["resolution"] == client.model(MODEL)["resolution"]
    assert painted(client, "copy", tmp_path / "copy") == painted(client, MODEL, tmp_path / "tiny")
    edit = {
        "kind": "edit",
        "model": "copy",
        "input": {
            "source": {"seeds": [1]},
            "operations": [{"op": "direction", "name": client.directions("copy")[0]["name"]}],
        },
    }
    assert finished(client, client.submit(edit)).status == "succeeded"


def test_a_name_that_ships_with_the_service_cannot_be_taken(client, model_repo):
    with pytest.raises(StateConflict, match="name_taken"):
        client.import_model(model_repo / MODEL / "weights.safetensors", name=MODEL)


class Canary:
    """Runs a command when it is unpickled by the standard library."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


def test_a_checkpoint_that_would_run_a_command_is_refused_and_runs_nothing(client, tmp_path):
    canary, file = tmp_path / "canary", tmp_path / "evil.pkl"
    file.write_bytes(pickle.dumps({"G_ema": Canary(canary)}))

    job = client.import_model(file, name="evil")

    with pytest.raises(JobUnsuccessful) as caught:
        finished(client, job)
    assert caught.value.code == "unsafe_pickle"
    assert not canary.exists()
    pickle.loads(file.read_bytes())
    assert canary.exists()  # the trap works
