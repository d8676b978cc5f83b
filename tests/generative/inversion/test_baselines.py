"""Classical restoration, on pictures where it is easy to say what must come out."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from generative.inversion import baselines
from generative.inversion.degradations import Downsample, Gray, Noise, luminance


def smooth(N: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    small = torch.rand(N, 3, 4, 4, generator=rng)
    return F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=True) * 1.6 - 0.8


def hole() -> Tensor:
    mask = torch.ones(2, 1, 32, 32)
    mask[0, :, 10:16, 12:18] = 0
    mask[1, :, 4:8, 20:28] = 0
    return mask


def error(a: Tensor, b: Tensor) -> float:
    return (a - b).square().mean().item()


def test_bicubic_beats_repeated_pixels() -> None:
    truth = smooth()
    observed = Downsample(4)(truth, {})
    repeated = F.interpolate(observed, scale_factor=4.0)
    assert error(baselines.bicubic(observed, 4), truth) < 0.2 * error(repeated, truth)


def test_the_mean_colour_is_that_of_what_is_known() -> None:
    mask = hole()
    picture = torch.tensor([0.5, -0.2, 0.1]).reshape(1, 3, 1, 1).expand(2, 3, 32, 32)
    torch.testing.assert_close(baselines.mean_colour(picture * mask, mask), picture.clone())


@pytest.mark.parametrize("method", ["telea", "navier-stokes"])
def test_inpainting_fills_a_hole_from_around_it_and_leaves_the_rest(method) -> None:
    truth, mask = smooth(), hole()
    filled = baselines.inpainted(truth * mask, mask, method)
    assert torch.equal(filled * mask, truth * mask)
    assert error(filled, truth) < 0.2 * error(baselines.mean_colour(truth * mask, mask), truth)


def test_the_mean_chroma_goes_onto_every_luminance() -> None:
    truth = 0.3 * smooth()
    coloured = baselines.mean_chroma(Gray()(truth, {}), truth)
    torch.testing.assert_close(luminance(coloured), luminance(truth))
    assert error(coloured, truth) < error(Gray()(truth, {}), truth)


@pytest.mark.parametrize("denoise", [baselines.non_local_means, baselines.bilateral])
def test_denoising_takes_noise_away(denoise) -> None:
    truth = smooth()
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    observed = Noise(0.15).observe(truth, {"noise": noise})
    assert error(denoise(observed, 0.15), truth) < 0.5 * error(observed, truth)
