"""Layers of two generators in one."""

from dataclasses import replace

import pytest
import torch

from generative.editing.swapping import swapped
from generative.networks.stylegan2 import Generator
from tests.families import tiny


@pytest.fixture(scope="module")
def pair():
    parent = tiny("stylegan2")
    torch.manual_seed(1)
    child = Generator(parent.config).eval()
    return parent, child


@pytest.fixture
def ws(pair):
    shape = (2, pair[0].num_ws, pair[0].w_dim)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_all_layers_are_the_other_and_none_are_the_first(pair, ws):
    parent, child = pair
    every = range(parent.num_ws)
    assert torch.equal(swapped(parent, child, every).synthesize(ws), child.synthesize(ws))
    assert torch.equal(swapped(parent, child, ()).synthesize(ws), parent.synthesize(ws))
    assert torch.equal(swapped(parent, child, every, 0.0).synthesize(ws), parent.synthesize(ws))
    classes = torch.eye(parent.c_dim)[:2]
    assert torch.equal(swapped(parent, child, every).map(ws[:, 0], classes), parent.map(ws[:, 0], classes))


@torch.no_grad()
def test_features_before_the_first_swapped_layer_stay(pair, ws):
    parent, child = pair
    mixed = swapped(parent, child, range(3, parent.num_ws))
    early, late = [n for n, i in parent.ws_index.items() if i < 3], list(parent.layers)[-1]
    ours, theirs = (g.features_of_ws(ws, [*early, late]) for g in (mixed, parent))
    assert all(torch.equal(ours[name], theirs[name]) for name in early)
    assert not torch.equal(ours[late], theirs[late])


def test_generators_of_other_architectures_are_refused(pair):
    parent = pair[0]
    other = Generator(replace(parent.config, mapping_layers=parent.config.mapping_layers + 1))
    with pytest.raises(ValueError, match="one architecture"):
        swapped(parent, other, (0,))
