"""Lanes: which queue a job waits in."""

import json

import pytest

from jobs.ids import new_job_id
from jobs.lanes import LANES, lane_of
from jobs.schemas import GenerateRequest, request_adapter

IMAGES = {"images": ["img_" + "0" * 64]}
SMILE = {"operations": [{"op": "direction", "name": "smile"}]}


@pytest.mark.parametrize(
    "kind, given, work",
    [
        ("generate", {}, "fast"),
        ("edit", {"source": {"seeds": [1]}} | SMILE, "fast"),
        ("edit", {"source": IMAGES} | SMILE, "slow"),
        ("invert", IMAGES, "slow"),
        ("evaluate", {}, "slow"),
        ("discover", {"method": "sefa", "name": "a"}, "slow"),
        (
            "discover",
            {"method": "import", "name": "a", "upload": "t/default/u/0", "sha256": "0" * 64},
            "import",
        ),
        ("import", {"upload": "t/default/u/0", "sha256": "0" * 64}, "import"),
    ],
)
@pytest.mark.parametrize("priority, rank", [("high", 0), ("normal", 1), ("low", 2)])
def test_a_lane_is_a_priority_and_a_class_of_work(kind, given, work, priority, rank):
    body = {"kind": kind, "model": "portraits", "input": given, "priority": priority}

    assert lane_of(request_adapter.validate_json(json.dumps(body))) == f"{rank}-{priority}.{work}"


def test_the_order_of_names_is_the_order_of_service():
    assert list(LANES) == sorted(LANES)
    assert lane_of(GenerateRequest(kind="generate", model="portraits")) in LANES


def test_job_ids_are_unique_and_match_their_pattern():
    ids = {new_job_id() for _ in range(1000)}

    assert len(ids) == 1000
    for id in ids:
        reference = {"job": id, "name": "latents.safetensors"}
        request_adapter.validate_json(
            json.dumps({"kind": "generate", "model": "m", "input": {"source": {"artifact": reference}}})
        )
