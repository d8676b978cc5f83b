from pathlib import Path

import numpy as np
import pytest
import torch

from generative.inversion.noise_maps import autocorrelation, normalized
from generative.networks.stylegan2 import Generator, StyleGAN2Config

VECTORS = Path(__file__).parents[4] / "shared/conformance/methods/projector/noise_regularization.npz"


@pytest.mark.parametrize("side", [4, 8, 16, 32])
def test_regularizer_and_normalization_are_the_published_ones(side: int) -> None:
    if not VECTORS.exists():
        pytest.skip("the published values are not here")
    with np.load(VECTORS) as arrays:
        noise, reg = torch.from_numpy(arrays[f"noise_{side}"]), float(arrays[f"reg_{side}"])
        expected = torch.from_numpy(arrays[f"normalized_{side}"])
    batch = torch.stack([noise, torch.zeros_like(noise)])[:, None]
    torch.testing.assert_close(autocorrelation(batch)[0].item(), reg, rtol=1e-6, atol=0)
    torch.testing.assert_close(normalized(noise[None, None])[0, 0], expected, rtol=0, atol=1e-6)


def test_a_smooth_map_costs_far_more_than_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, 64, 64, generator=rng)
    wave = torch.sin(torch.arange(64) / 10).expand(1, 1, 64, 64)
    assert autocorrelation(normalized(wave)) > 100 * autocorrelation(noise)


def test_maps_are_found_in_the_order_of_the_network() -> None:
    generator = Generator(
        StyleGAN2Config(img_resolution=16, z_dim=8, w_dim=8, mapping_layers=1, channel_max=8)
    )
    assert list(generator.noise_sizes.items()) == [
        ("b4.conv1", 4),
        ("b8.conv0", 8),
        ("b8.conv1", 8),
        ("b16.conv0", 16),
        ("b16.conv1", 16),
    ]
