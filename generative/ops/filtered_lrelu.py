"""Leaky ReLU on a finer grid, which makes no frequencies that the grid of its output cannot hold: section 3.2
of "Alias-Free Generative Adversarial Networks" (Karras et al., 2021).

Agrees with `filtered_lrelu` of NVlabs/stylegan3, which fuses it into one CUDA kernel. Axis letters: N batch,
C channels, H W pixels, k filter taps.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.ops.upfirdn2d import Padding, upfirdn2d, upfirdn2d_reference

SLOPE, GAIN = 0.2, math.sqrt(2)
CACHED, MIN_CHANNELS = 2**20, 16  # samples on the fine grid that stay in a CPU's cache; what its vectors hold


def filtered_lrelu(
    x: Tensor,
    bias: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    *,
    up: int,
    down: int,
    padding: Padding,
    clamp: float | None,
) -> Tensor:
    """Add the bias, upsample, leaky ReLU with slope 0.2 and gain sqrt 2, clamp, downsample.

    Args:
        x: (N, C, H, W); fastest with its channels last in memory.
        bias: (C,).
        up_filter, down_filter: (k,) for separable filters, (k, k) for others, None to leave samples as they
            are. They sum to 1.
        padding: with zeros, on the upsampled grid.
        clamp: largest absolute value on the fine grid; None for no limit.

    Returns:
        (N, C, H', W'), as two calls of `upfirdn2d` give it.
    """
    up_filter = x.new_ones(1) if up_filter is None else up_filter
    down_filter = x.new_ones(1) if down_filter is None else down_filter
    _, C, H, W = x.shape
    step = C if x.is_cuda else max(CACHED // (H * W * up**2), MIN_CHANNELS)
    parts = []
    for some, its_bias in zip(x.split(step, dim=1), bias.split(step), strict=True):
        # Filters and leaky ReLU commute with positive factors, which cost least on the coarse grid.
        some = (some + its_bias[:, None, None]) * (up**2 * GAIN)
        fine = upfirdn2d(some, up_filter, up=up, padding=padding)
        if clamp is not None:
            fine = fine.clamp_(-clamp / SLOPE, clamp)
        parts.append(upfirdn2d(F.leaky_relu(fine, SLOPE, inplace=True), down_filter, down=down))
    return torch.cat(parts, dim=1)


def filtered_lrelu_reference(
    x: Tensor,
    bias: Tensor,
    up_filter: Tensor | None,
    down_filter: Tensor | None,
    *,
    up: int,
    down: int,
    padding: Padding,
    clamp: float | None,
) -> Tensor:
    """The definition, step by step, with the definition of `upfirdn2d`: slow, the yardstick of the above."""
    one = torch.ones(1, 1, dtype=x.dtype)
    x = x + bias[:, None, None]
    x = up**2 * upfirdn2d_reference(x, one if up_filter is None else up_filter, up=up, padding=padding)
    x = torch.where(x < 0, SLOPE * x, x) * GAIN
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return upfirdn2d_reference(x, one if down_filter is None else down_filter, down=down)
