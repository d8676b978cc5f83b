"""What edits moved, on the shipped portraits: the truth of their factors, and locality of regions."""

import numpy as np
import pytest

from tests.workers.given import pixels_of

SKIN = {"op": "direction", "name": "skin_tone", "strength": 3.0}


def test_edits_say_what_they_moved_and_regions_stay_in_their_masks(portraits, run, read):
    job = run(SKIN, sweep={"strengths": [-3.0, 0.0, 3.0]})
    down, nothing, up = job.result["changes"]
    assert down["moves"]["skin_tone"] < -1 < 1 < up["moves"]["skin_tone"]
    assert nothing == {"strength": 0.0, "moves": {}, "identity": 1.0}
    assert next(iter(up["moves"])) == "skin_tone" and up["identity"] < 1
    pictures = [o for o in job.outputs if o.role == "image" and o.about["strength"] == 3.0]
    by_picture = [o.about["moves"]["skin_tone"] for o in pictures]
    assert up["moves"]["skin_tone"] == pytest.approx(np.mean(by_picture), abs=2e-3)

    region = {"op": "region", "mask": {"parts": ["hair"], "grow": 1}, "operations": [SKIN]}
    local = run(region, seeds=(1, 2, 3))
    [change] = local.result["changes"]
    assert change["outside"] < 0.1
    gap = [pixels_of(read(local, f"{n}_0000.png")).astype(int) for n in ("before", "edit")]
    assert np.abs(gap[0] - gap[1]).max() > 20


def test_measuring_can_be_left_out(portraits, run):
    job = run(SKIN, measure=False, show=[])
    assert job.result == {"count": 2}
    assert {o.name for o in job.outputs} == {"edit_0000.png", "edit_0001.png"}
