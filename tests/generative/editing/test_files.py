"""Flows and tables of units lie beside directions, and say the same when they are read again."""

import json
import re

import pytest
import torch

from generative.discovery.styleflow import Flow, StyleFlowConfig
from generative.editing.attribute_flow import AttributeFlow, FlowAttribute
from generative.editing.direction import Direction
from generative.editing.files import load_directions, load_sets, save_directions
from generative.editing.unit_table import UnitTable
from generative.spaces import Space

ATTRIBUTES = (
    FlowAttribute("smile", "continuous", 0.5, 0.25, (0.0, 1.0)),
    FlowAttribute("glasses", "binary", 0.1, 0.2, (0.0, 1.0)),
)


@pytest.fixture
def flow():
    torch.manual_seed(0)
    network = Flow(StyleFlowConfig(6, 2, (5, 5))).eval().requires_grad_(False)
    return AttributeFlow("mine", network, ATTRIBUTES, layers=(1, 2), method="styleflow", description="x")


@pytest.fixture
def units():
    iou = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.0, 0.4]])
    return UnitTable(
        "ours",
        "b8.conv1",
        8,
        ("hair", "hat"),
        iou,
        torch.tensor([1.0, 2.0, 3.0]),
        iou * 2,
        {"hat": {"units": 1, "lost": 0.25}},
        method="dissect",
    )


def test_a_set_of_every_type_survives_its_files(tmp_path, flow, units):
    direction = Direction("d", Space.W, torch.arange(6.0))
    save_directions(tmp_path, "all", "mixed", [direction, flow, units])

    found = load_sets(tmp_path)

    assert list(load_directions(tmp_path)) == list(found.directions) == ["d"]
    after = found.flows["mine"]
    assert after.entry() == flow.entry() and after.method == "mixed"
    assert all(torch.equal(t, flow.tensors()[name]) for name, t in after.tensors().items())
    after = found.units["ours"]
    assert after.entry() == units.entry()
    assert all(torch.equal(t, units.tensors()[name]) for name, t in after.tensors().items())


def test_a_name_is_one_members_whatever_the_types(tmp_path, flow, units):
    save_directions(tmp_path, "a", "m", [flow])
    save_directions(tmp_path, "b", "m", [Direction("mine", Space.W, torch.ones(6))])
    with pytest.raises(ValueError, match="twice"):
        load_sets(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"type": "dance"}, "unknown type"), ({"name": "other"}, "no numbers"), ({"hidden": [4, 4]}, "not fit")],
)
def test_records_that_do_not_go_with_their_numbers_are_refused(tmp_path, flow, change, message):
    save_directions(tmp_path, "a", "m", [flow])
    path = tmp_path / "directions" / "a.json"
    record = json.loads(path.read_text())
    record["directions"][0] |= change
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=message):
        load_sets(tmp_path)


def test_a_flow_moves_only_its_layers_and_not_when_nothing_is_wanted(flow):
    ws = torch.randn(3, 4, 6)
    current = flow.values({"glasses": torch.rand(3), "smile": torch.rand(3)})
    same = flow.edit(ws, current, current)
    assert torch.allclose(same, ws, atol=1e-3)
    moved = flow.edit(ws, current, flow.wanted(current, {"smile": 0.9}))
    changed = (moved - ws).abs().amax(dim=(0, 2)) > 1e-3
    assert changed.tolist() == [False, True, True, False]
    assert torch.allclose(flow.edit(ws[:, 1], current, current), ws[:, 1], atol=1e-3)
    with pytest.raises(ValueError, match="knows smile, glasses, not 'mood'"):
        flow.wanted(current, {"mood": 1.0})


def test_units_are_ranked_by_how_they_go_with_a_part(units):
    assert units.ranked("hair").tolist() == [1, 2, 0] and units.ranked("hat").tolist() == [0, 2, 1]
    assert units.typical("hat").tolist() == [1.0, 0.0, pytest.approx(0.8)]
    assert units.entry()["best"]["hat"][0] == [0, 0.5]
    with pytest.raises(ValueError, match=re.escape("know hair, hat, not 'nose'")):
        units.ranked("nose")
