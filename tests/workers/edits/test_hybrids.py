"""swap_layers and structure, with a second generator of the tiny model's architecture."""

from dataclasses import replace

import pytest
import torch

from generative.editing.swapping import swapped
from generative.generator import sample_z
from generative.networks.stylegan2 import Generator
from generative.pixels import to_uint8
from generative.spaces import broadcast

from .conftest import same


@pytest.fixture
def child(context, model, monkeypatch):
    """A model `child`."""
    torch.manual_seed(5)
    made = replace(model, name="child", sha256="c" * 64, generator=Generator(model.generator.config).eval())
    monkeypatch.setattr(context.models, "get", lambda tenant, name: made if name == "child" else model)
    return made


def painted(generator, ws):
    with torch.no_grad():
        return to_uint8(generator.synthesize(ws)).numpy()


def test_layers_come_from_the_other_generator(edits, model, child, ws_of):
    hybrid = swapped(model.generator, child.generator, (2, 3))
    assert same(edits({"op": "swap_layers", "model": "child", "layers": "2-3"}), painted(hybrid, ws_of(1, 2)))


def test_a_sweep_goes_from_one_generator_to_the_other(edits, model, child, ws_of, paint):
    operation = {"op": "swap_layers", "model": "child", "layers": "0-5"}
    pictures = edits(operation, sweep={"strengths": [0.0, 0.5, 1.0]}, seeds=[1])
    assert same(pictures[:1], paint(ws_of(1)))
    half = swapped(model.generator, child.generator, range(6), 0.5)
    assert same(pictures[1:2], painted(half, ws_of(1)))
    assert same(pictures[2:], painted(child.generator, ws_of(1)))


def test_structure_keeps_coarse_layers_and_their_w(edits, model, child, ws_of):
    network = child.generator
    with torch.no_grad():
        theirs = broadcast(network.map(sample_z([1, 2], network)), network.num_ws)
        theirs = network.w_avg.lerp(theirs, 0.7)
    ws = torch.cat([ws_of(1, 2)[:, :2], theirs[:, 2:]], dim=1)
    hybrid = swapped(model.generator, network, range(2, 6))
    assert same(edits({"op": "structure", "model": "child", "layers": "0-1"}), painted(hybrid, ws))


def test_styles_after_a_swap_are_those_of_the_hybrid(edits, model, child, ws_of):
    hybrid = swapped(model.generator, child.generator, range(6))
    with torch.no_grad():
        styles = hybrid.styles(ws_of(1, 2))
        styles["b4.conv1"][:, 0] += 1.0
        expected = to_uint8(hybrid.synthesize_styles(styles)).numpy()
    step = torch.zeros(1, model.card.style_size)
    step[0, 0] = 1.0
    in_s = {"op": "direction", "vector": {"space": "s", "values": step.tolist()}}
    swap = {"op": "swap_layers", "model": "child", "layers": "0-5"}
    assert same(edits(swap, in_s), expected)
