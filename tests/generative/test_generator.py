"""What every generator promises, shown on the smallest one, and on a family without W."""

import numpy as np
import pytest
import torch

from generative.generator import Generator, collected, sample_z, up_to
from generative.networks import stylegan2
from generative.networks.stylegan2 import StyleGAN2Config


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    config = StyleGAN2Config(img_resolution=8, z_dim=5, w_dim=4, mapping_layers=1, channel_max=4)
    return stylegan2.Generator(config).eval().requires_grad_(False)


def test_seeds_mean_what_they_mean_in_the_official_scripts(network):
    expected = np.random.RandomState(7).randn(1, 5).astype(np.float32)
    np.testing.assert_array_equal(sample_z([3, 7], network)[1:].numpy(), expected)


def test_a_family_may_draw_its_own_z(network):
    class Uniform(Generator):
        z_dim = 3

        def draw_z(self, seed):
            return np.full(3, seed / 10)

    assert sample_z([1, 2], Uniform()).tolist() == pytest.approx(np.array([[0.1] * 3, [0.2] * 3]))


def test_the_whole_way_is_the_sum_of_its_parts(network):
    z = sample_z([0, 1], network)
    ws = network.w_avg.lerp(network.map(z)[:, None].expand(-1, network.num_ws, -1), 0.5)
    assert torch.equal(network(z, psi=0.5), network.synthesize(ws))
    assert torch.equal(
        network(z, psi=0.5, noise="none"), network.synthesize_styles(network.styles(ws), "none")
    )


def test_widths_of_styles_are_those_of_the_styles(network):
    styles = network.styles(torch.zeros(1, network.num_ws, 4))
    assert network.style_widths() == {name: style.shape[1] for name, style in styles.items()}
    assert tuple(styles) == network.layers


def test_layers_that_never_come_are_named(network):
    seen = collected(lambda hook: network(torch.zeros(1, 5), hook=hook), ["b8.conv0"])
    assert seen["b8.conv0"].shape == (1, 4, 8, 8)
    with pytest.raises(ValueError, match=r"no such layers: b16, x"):
        network.features(torch.zeros(1, 5), ["b16", "b8", "x"])


def test_noise_is_stored_given_drawn_or_none(network):
    ws = torch.randn(3, network.num_ws, 4)
    network.synthesis.layer("b8.conv1").noise_strength.fill_(1.0)
    kept = network.synthesize(ws)
    given = {name: network.synthesis.layer(name).noise_const[None, None] for name in network.noise_sizes}
    assert torch.equal(network.synthesize(ws, "none", given), kept)
    drawn = [network.synthesize(ws, "random", rng=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(network.synthesize(ws, "none"), kept)


def test_nothing_behind_the_layer_is_computed():
    seen = []

    def forward(hook):
        for name in ("one", "two", "three"):
            seen.append(name)
            hook(name, torch.zeros(1))

    assert torch.equal(up_to("two", forward), torch.zeros(1)) and seen == ["one", "two"]
    with pytest.raises(ValueError, match="no such layer: four"):
        up_to("four", forward)
