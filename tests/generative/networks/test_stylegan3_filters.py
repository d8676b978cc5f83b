import math

import numpy as np
import pytest
import torch

from generative.networks.stylegan3_filters import kaiser_window, lowpass_filter

CUTOFF, WIDTH, RATE = 8.0, 16.0, 64.0


def amplitude(kernel, x, y):
    """Of the response of a (k, k) filter to waves of x and y cycles by unit of length."""
    t = (torch.arange(len(kernel), dtype=torch.float64) - (len(kernel) - 1) / 2) / RATE
    waves = torch.cos(2 * math.pi * (x * t + y * t[:, None]))  # sines cancel in a symmetric filter
    return (kernel.double() * waves).sum().item()


@pytest.fixture(params=["separable", "radial"])
def kernel(request):
    kernel = lowpass_filter(24, CUTOFF, WIDTH, RATE, request.param == "radial")
    return kernel if kernel.ndim == 2 else torch.outer(kernel, kernel)


@pytest.mark.parametrize("width", [0.01, 0.2, 0.6], ids=["no-window", "weak", "strong"])
def test_the_window_is_kaisers(width):
    attenuation = 2.285 * 11 * math.pi * width + 7.95
    if attenuation <= 21:
        beta = 0.0
    elif attenuation <= 50:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.1102 * (attenuation - 8.7)
    np.testing.assert_allclose(kaiser_window(12, width).numpy(), np.kaiser(12, beta), rtol=1e-12)


def test_low_frequencies_pass_and_high_ones_do_not(kernel):
    assert kernel.sum().item() == pytest.approx(1, abs=1e-6)
    assert amplitude(kernel, CUTOFF - WIDTH / 2, 0) == pytest.approx(1, abs=0.02)
    assert amplitude(kernel, CUTOFF, 0) == pytest.approx(0.5, abs=0.07)
    for frequency in (CUTOFF + WIDTH / 2, 20, RATE / 2):
        assert abs(amplitude(kernel, frequency, 0)) < 0.01


def test_a_radial_filter_is_alike_in_all_directions_and_a_separable_one_is_not():
    row = lowpass_filter(24, CUTOFF, WIDTH, RATE)
    slanted = CUTOFF * math.sqrt(0.5)
    radial = lowpass_filter(24, CUTOFF, WIDTH, RATE, radial=True)
    assert amplitude(radial, slanted, slanted) == pytest.approx(amplitude(radial, CUTOFF, 0), abs=0.01)
    square = torch.outer(row, row)
    assert amplitude(square, slanted, slanted) > amplitude(square, CUTOFF, 0) + 0.05
    torch.testing.assert_close(radial, radial.T)
    torch.testing.assert_close(radial, radial.flip(0))
