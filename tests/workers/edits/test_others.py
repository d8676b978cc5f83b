"""mix, transfer, interpolate and average, against the same by hand, in W and in S."""

import pytest
import torch

from generative.editing.mixing import mix
from generative.generator import sample_z
from generative.spaces import broadcast, slerp

from .conftest import same

SEVEN = {"seeds": [7]}


def in_w_plus(ws, other, layers):
    mixed = ws.clone()
    mixed[:, layers] = other[:, layers]
    return mixed


def test_a_mixture_takes_layers_of_another(edits, ws_of, paint):
    mixed = in_w_plus(ws_of(1, 2), ws_of(7), [0, 1, 4])
    assert same(edits({"op": "mix", "with": SEVEN, "layers": "0-1,4"}), paint(mixed))


def test_every_picture_may_have_its_own_other(edits, ws_of, paint):
    mixed = in_w_plus(ws_of(1, 2), ws_of(8, 9), [2, 3])
    assert same(edits({"op": "mix", "with": {"seeds": [8, 9]}, "layers": "2-3"}), paint(mixed))


def test_a_transfer_adds_what_lies_between_two_others(edits, ws_of, paint):
    moved = ws_of(1, 2) + 0.5 * (ws_of(8) - ws_of(7))
    operation = {"op": "transfer", "from": SEVEN, "to": {"seeds": [8]}, "strength": 0.5}
    assert same(edits(operation), paint(moved))


def test_a_sweep_of_an_interpolation_ends_at_the_other(edits, ws_of, paint):
    pictures = edits({"op": "interpolate", "with": SEVEN}, sweep={"strengths": [0.0, 0.25, 1.0]}, seeds=[1])
    ways = torch.cat([ws_of(1), torch.lerp(ws_of(1), ws_of(7), 0.25), ws_of(7)])
    assert same(pictures, paint(ways))


def test_the_way_over_the_sphere_is_that_of_z(edits, model, paint):
    network = model.generator
    a, b = sample_z([1, 7], network)
    with torch.no_grad():
        w = network.map(slerp(a, b, torch.tensor([0.5])))
        ws = network.w_avg.lerp(broadcast(w, network.num_ws), 0.7)
    operation = {"op": "interpolate", "with": SEVEN, "mode": "spherical"}
    assert same(edits(operation, seeds=[1]), paint(ws))


def test_an_average_is_of_all(edits, ws_of, paint):
    mean = ws_of(1, 5, 6).mean(dim=0, keepdim=True)
    assert same(edits({"op": "average", "with": {"seeds": [5, 6]}}, seeds=[1]), paint(mean))


def test_after_an_edit_in_s_others_are_mixed_there(edits, model, ws_of, paint):
    network = model.generator
    with torch.no_grad():
        own, other = network.styles(ws_of(1, 2)), network.styles(ws_of(7))
    own["b4.conv1"][:, 0] += 1.0
    mixed = {n: other[n].expand(2, -1) if network.ws_index[n] == 2 else s for n, s in own.items()}
    step = torch.zeros(1, model.card.style_size)
    step[0, 0] = 1.0
    in_s = {"op": "direction", "vector": {"space": "s", "values": step.tolist()}}
    assert same(edits(in_s, {"op": "mix", "with": SEVEN, "layers": "2"}), paint(mixed))


def test_latents_of_an_earlier_job_are_others_too(run, edits, ws_of, paint):
    before = run({"op": "direction", "name": "sefa_0"}, seeds=[7], output={"latents": "w+"})
    artifact = {"artifact": {"job": before.id, "name": "latents.safetensors"}}
    nothing = {"op": "transfer", "from": artifact, "to": artifact}
    assert same(edits(nothing), paint(ws_of(1, 2)))


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "mix", "with": {"seeds": [1, 2, 3]}, "layers": "0"},
        {"op": "average", "with": {"seeds": [1, 2, 3]}, "weights": [1.0]},
    ],
)
def test_others_that_do_not_fit_are_refused(run, operation):
    assert run(operation).error.code == "invalid_request"


def test_a_mixture_by_half_is_half_way(edits, ws_of, paint):
    chosen = torch.tensor([layer == 0 for layer in range(ws_of(1).shape[1])])[:, None]
    half = mix(ws_of(1, 2), ws_of(7), chosen, 0.5)
    assert same(edits({"op": "mix", "with": SEVEN, "layers": "0", "strength": 0.5}), paint(half))
