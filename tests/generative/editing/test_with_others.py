"""Mixing, transfer and averages of latents, against the other functions that do it and by hand."""

import pytest
import torch

from generative.editing.averaging import average
from generative.editing.layers import acting
from generative.editing.mixing import mix
from generative.editing.transfer import transfer
from generative.spaces import Space, lerp, mix_styles
from tests.families import tiny
from tests.generative.discovery.vectors import Vectors

ALL = torch.tensor(True)


@pytest.fixture
def ws():
    return torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))


def test_mixtures_and_ways_agree_with_the_official_code():
    stored = Vectors("higan", "manipulate")
    ws = stored["codes_wp"]
    chosen = torch.tensor([layer < 4 or layer > 7 for layer in range(14)])[:, None]
    mixed = torch.stack([mix(ws[:2], ws[i : i + 1], chosen) for i in (1, 2)], dim=1)
    assert torch.equal(mixed, stored["out_mix"])
    ways = torch.stack([mix(ws[:1], ws[1:2], ALL, float(t))[0] for t in torch.linspace(0, 1, 5)])
    torch.testing.assert_close(ways[None], stored["out_interp"], rtol=0, atol=1e-6)


def test_a_mixture_is_the_one_of_the_grid(ws):
    chosen = torch.tensor([layer in (1, 4) for layer in range(6)])[:, None]
    assert torch.equal(mix(ws, ws[2:], chosen), mix_styles(ws, ws[2:], (1, 4))[:, 0])
    assert torch.equal(mix(ws, ws[2:], chosen, 0.0), ws)


def test_half_way_is_the_straight_way(ws):
    ways = torch.stack([lerp(w, ws[0], torch.tensor([0.25]))[0] for w in ws])
    torch.testing.assert_close(mix(ws, ws[:1], ALL, 0.25), ways)


def test_a_transfer_adds_the_difference_of_two_others(ws):
    moved = transfer(ws, ws[1:2], ws[2:], ALL, 2.0)
    torch.testing.assert_close(moved, ws + 2 * (ws[2] - ws[1]))
    torch.testing.assert_close(transfer(ws[1:2], ws[1:2], ws[2:], ALL), ws[2:])


def test_an_average_counts_the_picture_itself(ws):
    torch.testing.assert_close(average(ws[:1], ws[1:], ALL), ws.mean(dim=0, keepdim=True))
    weighted = average(ws[:1], ws[1:], ALL, (2.0, 5.0))
    torch.testing.assert_close(weighted, (ws[:1] + 2 * ws[1:2] + 5 * ws[2:]) / 8)
    torch.testing.assert_close(average(ws[:1], ws[1:], ALL, strength=0.0), ws[:1])


def test_layers_of_s_are_the_styles_that_their_w_makes():
    generator = tiny("stylegan2")
    ws = torch.randn(1, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
    other = ws.clone()
    other[:, 2] += 1
    rows = [torch.cat(list(generator.styles(w).values()), dim=1)[0] for w in (ws, other)]
    changed = rows[0] != rows[1]
    assert torch.equal(changed, acting(generator, Space.S, (2,)))
    with pytest.raises(ValueError, match="no layers"):
        acting(generator, Space.Z, (2,))
