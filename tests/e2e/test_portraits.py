"""The model that ships, as `make demo` uses it."""

import subprocess
import sys

import pytest

from .conftest import finished
from .stack import ROOT

SHIPS = (ROOT / "model_repo" / "portraits" / "card.json").exists()
pytestmark = pytest.mark.skipif(not SHIPS, reason="model_repo/portraits is not there")


def test_an_unseen_portrait_is_inverted_with_the_defaults_and_edited(client, tmp_path):
    picture = tmp_path / "unseen.png"
    render = ["generative.worlds", "render", "--seed", "4000000007", "--size", "64", "--out", str(picture)]
    subprocess.run([sys.executable, "-m", *render], cwd=ROOT, check=True)
    image = client.upload_image(picture)
    invert = {"kind": "invert", "model": "portraits", "input": {"images": [image.id], "steps": 60}}

    inverted = finished(client, client.submit(invert))

    # Two people drawn at random have 13 dB, the most alike of 200 pairs 17.9 dB.
    assert inverted.result["images"][0]["psnr_db"] > 20
    latents = next(o for o in inverted.outputs if o.role == "latents")
    edit = {
        "kind": "edit",
        "model": "portraits",
        "input": {
            "source": {"artifact": {"job": inverted.id, "name": latents.name}},
            "operations": [{"op": "direction", "name": client.directions("portraits")[0]["name"]}],
            "sweep": {"strengths": [-2, 0, 2]},
        },
    }
    edited = finished(client, client.submit(edit))
    before, after, *_ = [o.sha256 for o in edited.outputs if o.role == "image"]
    assert before != after
