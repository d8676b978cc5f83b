"""units, explicit and by the part of a dissected layer, against hooks by hand."""

import torch

from generative.editing.unit_table import UnitTable

from .conftest import same

LAYER = "b8.conv1"


def switched(units, value, mask=None):
    """A hook."""

    def hook(name, x):
        if name != LAYER:
            return x
        y = x.clone()
        y[:, units] = torch.as_tensor(value).reshape(-1, 1, 1) if isinstance(value, list) else value
        return y if mask is None else torch.where(mask, y, x)

    return hook


def test_units_are_switched_off_and_to_values(edits, ws_of, paint):
    off = {"op": "units", "layer": LAYER, "units": [0, 3, 5]}
    assert same(edits(off), paint(ws_of(1, 2), switched([0, 3, 5], 0.0)))
    up = off | {"action": "value", "value": 4.0}
    assert same(edits(up), paint(ws_of(1, 2), switched([0, 3, 5], 4.0)))


def test_a_box_limits_them_to_its_places(edits, ws_of, paint, run):
    left = torch.zeros(8, 8, dtype=torch.bool)
    left[:, :4] = True
    box = {"box": {"left": 0, "top": 0, "width": 0.5, "height": 1}}
    off = {"op": "units", "layer": LAYER, "units": list(range(16)), "mask": box}
    assert same(edits(off), paint(ws_of(1, 2), switched(list(range(16)), 0.0, left)))
    assert 0 < run(off).result["changes"][0]["outside"] < 1


def test_half_a_switch_is_half_the_way(edits, ws_of, paint):
    def halved(name, x):
        return torch.cat([x[:, :1] / 2, x[:, 1:]], dim=1) if name == LAYER else x

    off = {"op": "units", "layer": LAYER, "units": [0], "strength": 0.5}
    assert same(edits(off), paint(ws_of(1, 2), halved))


def test_a_part_names_its_units_and_how_strong_they_are(edits, served, ws_of, paint, run):
    iou = torch.zeros(1, 16)
    iou[0, [2, 9]] = torch.tensor([0.5, 0.9])
    values = torch.arange(16.0)[None]
    table = UnitTable("dissected", LAYER, 8, ("hair",), iou, torch.zeros(16), values)
    served(units={"dissected": table})
    one = {"op": "units", "table": "dissected", "part": "hair", "count": 1}
    assert same(edits(one), paint(ws_of(1, 2), switched([9], 0.0)))
    two = one | {"count": 2, "action": "on"}
    assert same(edits(two), paint(ws_of(1, 2), switched([2, 9], [2.0, 9.0])))
    assert run(one | {"table": "other"}).error.code == "unknown_direction"


def test_units_that_the_layer_lacks_are_refused(run):
    assert run({"op": "units", "layer": LAYER, "units": [16]}).error.code == "invalid_request"
    assert run({"op": "units", "layer": "b999", "units": [0]}).error.code == "invalid_request"
