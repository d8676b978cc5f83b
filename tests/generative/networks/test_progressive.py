import math

import pytest
import torch
import torch.nn.functional as F

from generative.networks.progressive import (
    blended,
    check_channels,
    double,
    fused_up_conv,
    last_block,
    pixel_norm,
)

BLOCKS = 4  # 4 to 32 pixels


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def paint(_block, x):
    return x


def test_the_fused_up_convolution_is_doubling_and_a_convolution_with_the_flipped_kernel():
    x, weight = random(2, 3, 5, 6), random(3, 4, 3, 3, seed=1)
    expected = F.conv2d(double(x), weight.transpose(0, 1).flip((2, 3)), padding=1)

    torch.testing.assert_close(fused_up_conv(x, weight), expected)


def test_the_pixel_norm_makes_the_mean_square_of_the_channels_one():
    x = pixel_norm(random(2, 5, 3, 3))

    torch.testing.assert_close(x.square().mean(dim=1), torch.ones(2, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize(("lod", "block"), [(0, 3), (0.3, 3), (1, 2), (2.9, 1), (3, 0)])
def test_levels_of_detail_leave_out_whole_blocks(lod, block):
    assert last_block(lod, BLOCKS) == block


@pytest.mark.parametrize("lod", [-0.1, 3.1, math.nan, math.inf])
def test_levels_that_are_not_there_are_refused(lod):
    with pytest.raises(ValueError, match="lod must be from 0 to 3"):
        last_block(lod, BLOCKS)


@pytest.mark.parametrize("lod", [0.25, 1.5, 2.75])
def test_a_fraction_of_a_level_is_that_fraction_of_the_coarser_picture(lod):
    size = 32 >> math.floor(lod)
    x, before = random(2, 3, size, size), random(2, 3, size // 2, size // 2, seed=1)
    fine, coarse = (F.interpolate(image, size=32) for image in (x, before))

    image = blended(paint, x, before, lod, BLOCKS)

    torch.testing.assert_close(image, (1 - lod % 1) * fine + lod % 1 * coarse)


@pytest.mark.parametrize("lod", [0, 1, 3])
def test_at_a_whole_level_the_block_before_does_not_paint(lod):
    size, painted = 32 >> lod, []

    image = blended(lambda i, x: painted.append(i) or x, torch.ones(1, 3, size, size), None, lod, BLOCKS)

    assert painted == [3 - lod]
    assert image.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("resolution", "channels"), [(32, (8, 8)), (12, (8, 8)), (2, ()), (8, (8, 0))])
def test_impossible_numbers_of_channels_are_refused(resolution, channels):
    with pytest.raises(ValueError, match=r"channels|resolution"):
        check_channels(resolution, channels)
