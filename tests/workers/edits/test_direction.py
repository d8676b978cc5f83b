"""direction in every space and of every kind, against the same by hand."""

import numpy as np
import pytest
import torch

from generative.editing.conditions import projected
from generative.editing.direction import Direction, apply
from generative.editing.placing import to_boundary, to_coordinate
from generative.generator import sample_z
from generative.p_space import from_pn, to_pn
from generative.spaces import Space, broadcast

from .conftest import same

SEFA = {"op": "direction", "name": "sefa_0", "strength": 2.0}


def vector(space, values, **more):
    return {"op": "direction", "vector": {"space": space, "values": [values.tolist()]}, **more}


def test_a_boundary_and_a_coordinate_are_where_latents_arrive(edits, model, ws_of, paint):
    direction = model.directions["sefa_0"]
    at_boundary = to_boundary(ws_of(1, 2), direction, 2.0, (0, 1))
    assert same(edits(SEFA | {"mode": "boundary", "layers": "0-1"}), paint(at_boundary))
    at_coordinate = to_coordinate(ws_of(1, 2), direction, 2.0, model.statistics.mean)
    assert same(edits(SEFA | {"mode": "coordinate"}), paint(at_coordinate))


def test_an_offset_is_a_step_also_for_a_direction_of_distances(edits, model, served, ws_of, paint):
    normal = torch.nn.functional.normalize(torch.randn(16, generator=torch.Generator().manual_seed(2)), dim=0)
    served(directions={"plane": Direction("plane", Space.W, normal, unit="distance")})
    moved = ws_of(1, 2) + 1.5 * normal
    assert same(edits({"op": "direction", "name": "plane", "strength": 1.5, "mode": "offset"}), paint(moved))


def test_what_is_kept_is_projected_out(edits, model, ws_of, paint):
    along = projected(model.directions["sefa_0"], [model.directions["sefa_1"]])
    assert same(edits(SEFA | {"keep": ["sefa_1"]}), paint(apply(ws_of(1, 2), along, 2.0)))


def test_a_vector_of_one_s_own_acts_in_its_space(edits, model, ws_of, paint):
    rng = torch.Generator().manual_seed(0)
    step = torch.randn(16, generator=rng) * 0.3
    assert same(edits(vector("w", step, strength=2.0)), paint(ws_of(1, 2) + 2 * step))
    axes = model.codes.axes
    in_p = from_pn(to_pn(ws_of(1, 2), axes) + step, axes)
    assert same(edits(vector("p", step)), paint(in_p))
    layered = torch.randn(model.generator.num_ws, 16, generator=rng) * 0.3
    assert same(edits(vector("w+", layered, layers="1,3")), paint(with_layers(ws_of(1, 2), layered, (1, 3))))


def with_layers(ws, layered, layers):
    moved = ws.clone()
    moved[:, list(layers)] += layered[list(layers)]
    return moved


def test_a_dimension_is_a_coordinate_of_z(edits, model, paint):
    network, z = model.generator, sample_z([1, 2], model.generator)
    z[:, 3] = 1.5
    with torch.no_grad():
        ws = network.w_avg.lerp(broadcast(network.map(z), network.num_ws), 0.7)
    operation = {"op": "direction", "dimension": 3, "strength": 1.5, "mode": "coordinate"}
    assert same(edits(operation), paint(ws))


def test_a_style_channel_moves_in_its_standard_deviations(edits, model, ws_of, paint):
    network, layer, index = model.generator, "b8.conv0", 4
    with torch.no_grad():
        samples = network.w_avg.lerp(model.codes.samples, 0.7)
        spread = network.styles(broadcast(samples, network.num_ws))[layer][:, index].std(correction=0)
        styles = network.styles(ws_of(1, 2))
    styles[layer][:, index] += 5 * spread
    operation = {"op": "direction", "channel": {"layer": layer, "index": index}, "strength": 5.0}
    assert same(edits(operation), paint(styles))


@pytest.mark.parametrize("whole", [False, True])
def test_features_are_added_in_a_layer(edits, model, ws_of, paint, whole):
    shape = (16, 8, 8) if whole else (16,)
    offset = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def hook(name, x):
        return x + 3 * offset.reshape(-1, *(shape[1:] or (1, 1))) if name == "b8.conv1" else x

    asked = {"layer": "b8.conv1", "values": offset.tolist()}
    pictures = edits({"op": "direction", "features": asked, "strength": 3.0})
    assert same(pictures, paint(ws_of(1, 2), hook)) and not np.array_equal(pictures, paint(ws_of(1, 2)))
