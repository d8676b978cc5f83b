"""Requests for edits: which operations there are, and what the schema alone refuses."""

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from generative.networks.parts_network import PartsRecord
from jobs.editing import PARTS, AnyOperation, EditInput

ROOT = Path(__file__).parents[2]
SMILE = {"op": "direction", "name": "smile"}
SEED = {"seeds": [7]}
BOX = {"box": {"left": 0, "top": 0, "width": 0.5, "height": 0.5}}
adapter = TypeAdapter(EditInput)

EVERY = {
    "direction": SMILE | {"mode": "boundary", "keep": ["age"]},
    "attributes": {"op": "attributes", "flow": "flow", "set": {"smile": 0.5}},
    "units": {
        "op": "units",
        "layer": "b8.conv1",
        "units": [1, 2],
        "action": "value",
        "value": 3.0,
        "mask": BOX,
    },
    "mix": {"op": "mix", "with": SEED, "layers": "0-3"},
    "transfer": {"op": "transfer", "from": SEED, "to": {"seeds": [8]}},
    "interpolate": {"op": "interpolate", "with": SEED, "mode": "spherical"},
    "average": {"op": "average", "with": {"seeds": "1-4"}, "weights": [1.0, 2.0, 3.0, 4.0]},
    "region": {"op": "region", "mask": "img_" + "0" * 64, "operations": [SMILE]},
    "swap_layers": {"op": "swap_layers", "model": "other", "layers": "4-9"},
    "structure": {"op": "structure", "model": "other", "layers": "0-3"},
}


def parse(*operations, **more):
    text = json.dumps({"source": {"seeds": [1]}, "operations": operations} | more)
    return adapter.validate_json(text)


def test_these_are_all_operations():
    assert set(EVERY) == {get_args(op.model_fields["op"].annotation)[0] for op in get_args(AnyOperation)}


@pytest.mark.parametrize("name", EVERY)
def test_an_operation_is_the_same_after_a_trip_through_a_row(name):
    parsed = parse(EVERY[name])
    assert adapter.validate_json(parsed.model_dump_json(by_alias=True)) == parsed


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "direction"},
        SMILE | {"dimension": 3},
        SMILE | {"keep": ["smile"]},
        {"op": "direction", "features": {"layer": "b8", "values": [1.0]}, "layers": "0"},
        {"op": "units", "layer": "b8", "units": [1], "action": "on"},
        {"op": "units", "layer": "b8", "units": [1], "value": 1.0},
        {"op": "units", "layer": "b8", "units": [1], "action": "value"},
        {"op": "units", "layer": "b8"},
        {"op": "units", "layer": "b8", "units": [1], "table": "a", "part": "hair"},
        {"op": "mix", "with": {"images": ["img_" + "0" * 64]}, "layers": "0"},
        {"op": "mix", "with": SEED, "layers": "0", "strength": 1.5},
        {"op": "interpolate", "with": SEED, "mode": "spherical", "layers": "0"},
        {"op": "average", "with": SEED, "weights": [0.0]},
        {"op": "region", "mask": BOX, "operations": []},
        {"op": "region", "mask": BOX, "operations": [EVERY["region"]]},
        {"op": "region", "mask": BOX, "operations": [EVERY["swap_layers"]]},
        {"op": "region", "mask": BOX | {"parts": ["hair"]}, "operations": [SMILE]},
        {"op": "region", "mask": {"parts": ["moustache"]}, "operations": [SMILE]},
        {"op": "nothing"},
    ],
)
def test_operations_that_contradict_themselves_are_refused(operation):
    with pytest.raises(ValidationError):
        parse(operation)


def test_a_sweep_gives_a_variant_for_each_strength():
    swept = parse(SMILE, EVERY["mix"], sweep={"operation": 1, "strengths": [0.0, 0.5]})
    assert [[op.strength for op in variant] for variant in swept.variants()] == [[1.0, 0.0], [1.0, 0.5]]


def test_a_sweep_reaches_into_a_region():
    swept = parse(EVERY["region"], sweep={"operation": 0, "inside": 0, "strengths": [-3.0, 3.0]})
    assert [v[0].operations[0].strength for v in swept.variants()] == [-3.0, 3.0]
    assert [v[0].strength for v in swept.variants()] == [1.0, 1.0]


@pytest.mark.parametrize(
    "sweep",
    [
        {"operation": 1, "strengths": [0.0]},
        {"strengths": [0.0, 3.0]},
        {"inside": 0, "strengths": [0.0]},
    ],
)
def test_a_sweep_that_its_operation_cannot_do_is_refused(sweep):
    with pytest.raises(ValidationError, match=r"sweep|operations"):
        parse(EVERY["mix"], sweep=sweep)


def test_parts_are_those_that_the_shipped_network_finds():
    record = (ROOT / "model_repo" / "portraits" / "parts.json").read_text()
    assert PartsRecord.model_validate_json(record).parts == PARTS
