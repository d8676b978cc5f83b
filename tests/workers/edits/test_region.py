"""region: pictures by hand from stacked codes, masks of every kind, bytes that do not depend on company."""

import numpy as np
import torch

from generative.editing.direction import apply
from generative.editing.regions import blend, box_mask
from generative.pixels import to_uint8
from tests.workers.given import pixels_of

from .conftest import same

SEFA = {"op": "direction", "name": "sefa_0", "strength": 6.0}
LEFT = {"box": {"left": 0, "top": 0, "width": 0.5, "height": 1}}


def by_hand(model, before, after, mask, split):
    network = model.generator

    def hook(name, x):
        return blend(x, [mask], [split]) if name in network.layers else x

    with torch.no_grad():
        stack = network.synthesize(torch.cat([before, after]), hook=hook)
    return to_uint8(stack.chunk(2)[1]).numpy()


def test_inside_is_the_edit_and_outside_the_picture_before(edits, model, ws_of, paint):
    mask = box_mask(0, 0, 0.5, 1, 16).expand(2, 1, -1, -1)
    moved = apply(ws_of(1, 2), model.directions["sefa_0"], 6.0)
    for blend_of, split in (("features", False), ("styles", True)):
        region = {"op": "region", "mask": LEFT, "operations": [SEFA], "blend": blend_of}
        assert same(edits(region), by_hand(model, ws_of(1, 2), moved, mask, split))
    whole = {"op": "region", "mask": LEFT | {"invert": True, "grow": 16}, "operations": [SEFA]}
    assert same(edits(whole), paint(moved))
    assert same(edits(whole | {"strength": 0.0}), paint(ws_of(1, 2)))


def test_an_uploaded_picture_is_a_mask(edits, upload):
    white = np.zeros((16, 16, 3), np.uint8)
    white[:, :8] = 255
    painted = [
        edits({"op": "region", "mask": mask, "operations": [SEFA]})
        for mask in (LEFT, upload(white), {"image": upload(255 - white), "invert": True})
    ]
    assert np.array_equal(painted[0], painted[1]) and np.array_equal(painted[0], painted[2])


def test_what_comes_before_and_after_acts_everywhere(edits, model, ws_of):
    mask = box_mask(0, 0, 0.5, 1, 16).expand(2, 1, -1, -1)
    one, two = model.directions["sefa_0"], model.directions["sefa_1"]
    before, after = apply(ws_of(1, 2), two, 1.0), apply(ws_of(1, 2), two, 1.0)
    moved = apply(apply(before, one, 6.0), two, 2.0)
    expected = by_hand(model, apply(after, two, 2.0), moved, mask, False)
    other = {"op": "direction", "name": "sefa_1"}
    region = {"op": "region", "mask": LEFT, "operations": [SEFA]}
    assert same(edits(other, region, other | {"strength": 2.0}), expected)


def test_units_in_a_region_touch_its_code_alone(edits, model, ws_of):
    network, mask = model.generator, box_mask(0, 0, 0.5, 1, 16).expand(2, 1, -1, -1)

    def hook(name, x):
        if name == "b8.conv1":
            x = torch.cat([x[:2], torch.zeros_like(x[2:])])
        return blend(x, [mask], [False]) if name in network.layers else x

    with torch.no_grad():
        stack = network.synthesize(ws_of(1, 2).repeat(2, 1, 1), hook=hook)
    off = {"op": "units", "layer": "b8.conv1", "units": list(range(16))}
    region = {"op": "region", "mask": LEFT, "operations": [off]}
    assert same(edits(region), to_uint8(stack[2:]).numpy())


def test_bytes_do_not_depend_on_company(run, read):
    region = {"op": "region", "mask": LEFT, "operations": [SEFA]}
    off = {"op": "units", "layer": "b8.conv1", "units": [1, 2], "mask": LEFT}
    alone, many = run(region, off, seeds=[2]), run(region, off, seeds=[1, 2, 3])
    assert np.array_equal(
        *(pixels_of(read(j, n)) for j, n in ((alone, "edit_0000.png"), (many, "edit_0001.png")))
    )


def test_parts_are_refused_where_no_network_finds_them(run):
    region = {"op": "region", "mask": {"parts": ["hair"]}, "operations": [SEFA]}
    assert run(region).error.code == "unsupported_by_model"


def test_a_mask_that_is_not_there_is_refused(run):
    region = {"op": "region", "mask": "img_" + "0" * 64, "operations": [SEFA]}
    assert run(region).error.code == "unknown_image"
