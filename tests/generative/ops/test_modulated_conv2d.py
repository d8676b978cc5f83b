import pytest
import torch

from generative.ops.modulated_conv2d import modulated_conv2d, modulated_conv2d_reference
from generative.ops.upfirdn2d import fir_filter


def inputs(k, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 6, 6, generator=rng, dtype=dtype)
    weight = torch.randn(7, 5, k, k, generator=rng, dtype=dtype)
    styles = torch.randn(3, 5, generator=rng, dtype=dtype)
    return x, weight, styles


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("k", [1, 3])
def test_scaling_the_input_is_scaling_the_kernel(k, demodulate):
    x, weight, styles = inputs(k)

    fast = modulated_conv2d(x, weight, styles, demodulate=demodulate)

    torch.testing.assert_close(fast, modulated_conv2d_reference(x, weight, styles, demodulate=demodulate))


@pytest.mark.parametrize("demodulate", [True, False])
def test_upsampling_agrees_with_zero_insertion_and_two_filters(demodulate):
    x, weight, styles = inputs(3)
    kernel = fir_filter((1, 3, 3, 1)).double()

    fast = modulated_conv2d(x, weight, styles, demodulate=demodulate, resample_filter=kernel)

    slow = modulated_conv2d_reference(x, weight, styles, demodulate=demodulate, resample_filter=kernel)
    assert fast.shape == (3, 7, 12, 12)
    torch.testing.assert_close(fast, slow)


def test_demodulation_undoes_the_length_of_the_style():
    x, weight, styles = inputs(3)
    torch.testing.assert_close(modulated_conv2d(x, weight, styles), modulated_conv2d(x, weight, 10 * styles))


@pytest.mark.parametrize("N", [2, 4, 8])
def test_a_pixel_of_one_picture_has_the_same_bits_in_any_company(N):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(16, 32, 64, 64, generator=rng).contiguous(memory_format=torch.channels_last)
    weight, styles = torch.randn(3, 32, 1, 1, generator=rng), torch.randn(16, 32, generator=rng)
    together = modulated_conv2d(x, weight, styles, demodulate=False)
    alone = modulated_conv2d(x[:N].clone(), weight, styles[:N], demodulate=False)
    assert torch.equal(alone, together[:N])


def test_half_precision_does_not_overflow_where_the_plain_product_would():
    x, weight, styles = inputs(3, torch.float32)
    half = modulated_conv2d(x.half(), weight * 300, styles * 300)  # float16 ends at 65504
    torch.testing.assert_close(half.float(), modulated_conv2d(x, weight, styles), atol=0.01, rtol=0.01)


def test_second_derivatives_are_those_of_the_definition():
    kernel = fir_filter((1, 3, 3, 1)).double()

    def curvature(convolve):
        x, weight, styles = inputs(3)
        styles.requires_grad_()
        y = convolve(x, weight, styles, resample_filter=kernel)
        [gradient] = torch.autograd.grad(y.square().sum(), styles, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), styles)[0]

    torch.testing.assert_close(curvature(modulated_conv2d), curvature(modulated_conv2d_reference))
