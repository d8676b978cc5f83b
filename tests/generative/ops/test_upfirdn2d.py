import numpy as np
import pytest
import torch

from generative.ops.upfirdn2d import (
    downsample2d,
    fir_filter,
    upfirdn2d,
    upfirdn2d_reference,
    upsample2d,
)


@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize("down", [1, 2])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (2, 1, 1, 2), (1, -1, 0, 3)])
def test_the_fast_path_is_the_definition(up, down, padding):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 7, 6, generator=rng, dtype=torch.float64)
    kernel = torch.randn(4, 3, generator=rng, dtype=torch.float64)  # not symmetric: a flip would show

    fast = upfirdn2d(x, kernel, up=up, down=down, padding=padding)

    torch.testing.assert_close(fast, upfirdn2d_reference(x, kernel, up=up, down=down, padding=padding))


def test_the_definition_is_a_product_of_spectra():
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 5, 5, generator=rng, dtype=torch.float64)
    kernel = torch.randn(4, 4, generator=rng, dtype=torch.float64)
    stuffed = torch.zeros(10, 10, dtype=torch.float64)
    stuffed[::2, ::2] = x[0, 0]

    ours = upfirdn2d_reference(x, kernel, up=2, padding=(3, 3, 3, 3))[0, 0]

    spectra = np.fft.fft2(stuffed.numpy(), (13, 13)) * np.fft.fft2(kernel.numpy(), (13, 13))
    torch.testing.assert_close(ours, torch.from_numpy(np.fft.ifft2(spectra).real))


def test_resampling_by_two_is_upfirdn2d_with_the_official_padding():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kernel = fir_filter((1, 3, 3, 1)).double()

    up = upfirdn2d_reference(x, 4 * kernel, up=2, padding=(2, 1, 2, 1))
    down = upfirdn2d_reference(x, kernel, down=2, padding=(1, 1, 1, 1))

    torch.testing.assert_close(upsample2d(x, kernel), up)
    torch.testing.assert_close(downsample2d(x, kernel), down)


def test_a_flat_picture_keeps_its_brightness_away_from_the_border():
    flat = torch.full((1, 1, 8, 8), 0.7)
    kernel = fir_filter((1, 3, 3, 1))

    for resampled in (upsample2d(flat, kernel), downsample2d(flat, kernel)):
        inner = resampled[:, :, 2:-2, 2:-2] if resampled.shape[2] > 4 else resampled[:, :, 1:-1, 1:-1]
        torch.testing.assert_close(inner, torch.full_like(inner, 0.7))


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (9, 8, 9, 8), (-6, -5, -7, 1), (30, 2, 1, 40)])
@pytest.mark.parametrize("up, down, taps", [(1, 1, 1), (2, 1, 12), (4, 1, 24), (1, 2, 12), (3, 2, 5)])
def test_taps_along_both_axes_are_the_matrix_of_their_products(up, down, taps, padding):
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(2, 3, 26, 25, generator=rng, dtype=torch.float64)
    row = torch.randn(taps, generator=rng, dtype=torch.float64)  # not symmetric: a flip would show
    options = {"up": up, "down": down, "padding": padding}

    expected = upfirdn2d_reference(x, torch.outer(row, row), **options)

    torch.testing.assert_close(upfirdn2d(x, row, **options), expected)
    torch.testing.assert_close(upfirdn2d(x, torch.outer(row, row), **options), expected)
    torch.testing.assert_close(upfirdn2d_reference(x, row, **options), expected)
