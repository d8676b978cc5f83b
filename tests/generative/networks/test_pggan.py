import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from generative.networks.pggan import Generator, PGGANConfig
from tests.generative.networks.genforce_vectors import randomised

SMALL = PGGANConfig(img_resolution=16, channels=(12, 8, 6), z_dim=10)


@pytest.fixture
def generator():
    return randomised(Generator(SMALL)).double()


@pytest.fixture
def z():
    return torch.randn(3, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def plain(state, z):
    """The definition at 16 pixels, in small steps."""

    def normalised(x):
        return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()

    def layer(name, x, gain=2, padding=1):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        scale = math.sqrt(gain / weight[0].numel())
        return F.conv2d(normalised(x), scale * weight, bias, padding=padding)

    x = F.leaky_relu(layer("layer0", normalised(z)[:, :, None, None], padding=3), 0.2)
    x = F.leaky_relu(layer("layer1", x), 0.2)
    for i in (2, 4):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = F.leaky_relu(layer(f"layer{i}", x), 0.2)
        x = F.leaky_relu(layer(f"layer{i + 1}", x), 0.2)
    return layer("output2", x, gain=1, padding=0)


def test_pictures_are_what_the_definition_says(generator, z):
    torch.testing.assert_close(generator(z), plain(generator.state_dict(), z))


def test_a_picture_does_not_depend_on_its_company(generator, z):
    torch.testing.assert_close(generator(z)[1:2], generator(z[1:2]))


def test_a_picture_does_not_depend_on_the_length_of_z(generator, z):
    torch.testing.assert_close(generator(z), generator(5 * z), rtol=1e-6, atol=1e-6)


def test_fused_layers_paint_the_same_with_the_flipped_kernels(generator, z):
    fused = Generator(dataclasses.replace(SMALL, fused_scale=True)).double()
    state = generator.state_dict()
    for name in ("layer2.weight", "layer4.weight"):
        state[name] = state[name].transpose(0, 1).flip((2, 3))
    fused.load_state_dict(state)

    torch.testing.assert_close(fused(z), generator(z))


def test_coarse_pictures_need_no_fine_layers(generator, z):
    seen = []

    image = generator(z, lod=1, hook=lambda name, x: seen.append(name) or x)

    assert seen == ["layer0", "layer1", "layer2", "layer3", "output1"]
    assert torch.equal(image, F.interpolate(image[:, :, ::2, ::2], size=16))


def test_without_a_level_of_detail_the_one_of_the_checkpoint_holds(generator, z):
    generator.lod.fill_(0.75)

    assert torch.equal(generator(z), generator(z, lod=0.75))
    assert not torch.equal(generator(z), generator(z, lod=0))


def test_a_hook_changes_what_the_next_layer_sees(generator, z):
    changed = generator(z, hook=lambda name, x: 0 * x if name == "layer4" else x)

    assert torch.equal(changed[0], changed[1])
    assert generator.features(z, ["layer4"])["layer4"].shape == (3, 6, 16, 16)


def test_a_label_lies_beside_the_normalised_z(z):
    generator = randomised(Generator(dataclasses.replace(SMALL, c_dim=2))).double()
    first, second = torch.eye(2, dtype=torch.float64)[:, None].expand(-1, 3, -1)

    assert not torch.allclose(generator(z, first), generator(z, second))
    torch.testing.assert_close(generator(z, first), generator(3 * z, first), rtol=1e-6, atol=1e-6)
    for wrong in (None, torch.zeros(3, 3)):
        with pytest.raises(ValueError, match=r"class label c of shape \(N, 2\)"):
            generator(z, wrong)


@pytest.mark.parametrize("psi", [0.7, torch.tensor([1.0, 0.9, 1.0])])
def test_there_is_no_truncation(generator, z, psi):
    assert torch.equal(generator(z, psi=torch.ones(3)), generator(z))
    with pytest.raises(ValueError, match="psi must be 1"):
        generator(z, psi=psi)


def test_a_z_of_another_length_is_refused(generator):
    with pytest.raises(ValueError, match=r"z must be \(N, 10\)"):
        generator(torch.zeros(1, 9))


@pytest.mark.parametrize("change", [{"z_dim": 0}, {"img_channels": 2**20}, {"c_dim": 2**20}, {"c_dim": -1}])
def test_sizes_that_no_network_has_are_refused(change):
    with pytest.raises(ValueError):
        dataclasses.replace(SMALL, **change)
