"""Pad, upsample, filter and downsample pictures in one step: the resampling of StyleGAN2 and StyleGAN3.

Agrees with `upfirdn2d` of NVlabs/stylegan2-ada-pytorch and NVlabs/stylegan3: zeros are inserted AFTER each
sample, padding is counted on the upsampled grid, and the filter is convolved (not correlated) with the
picture.

Axis letters: N batch, C channels, H W pixels, k kh kw filter taps.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = tuple[int, int, int, int]  # left, right, top, bottom, in upsampled pixels; negative numbers crop
Pair = tuple[int, int]


def fir_filter(taps: Sequence[int | float]) -> Tensor:
    """The separable filter with these taps as a (k, k) float32 matrix that sums to 1."""
    row = torch.tensor(taps, dtype=torch.float64)
    matrix = torch.outer(row, row)
    return (matrix / matrix.sum()).float()


def upfirdn2d(
    x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, padding: Padding = (0, 0, 0, 0)
) -> Tensor:
    """Upsample by zero insertion, pad, convolve with `kernel`, keep every `down`-th sample.

    Args:
        x: (N, C, H, W); fastest with its channels last in memory.
        kernel: (kh, kw), the same for all channels, or (k,) for the separable one with these taps along both
            axes. To keep the brightness, scale the former by `up ** 2`, the latter by `up`.
        padding: on the upsampled grid.

    Returns:
        (N, C, (H * up + top + bottom - kh) // down + 1, same for W).
    """
    if kernel.ndim == 2:
        return _resample(x, kernel, (up, up), (down, down), padding)
    left, right, top, bottom = padding
    x = _resample(x, kernel[None], (1, up), (1, down), (left, right, 0, 0))
    return _resample(x, kernel[:, None], (up, 1), (down, 1), (0, 0, top, bottom))


def _resample(x: Tensor, kernel: Tensor, up: Pair, down: Pair, padding: Padding) -> Tensor:
    """As `upfirdn2d`, with factors for (y, x). No product with an inserted zero is ever computed."""
    C = int(x.shape[1])  # a number for exporters too, which know kernels of fixed shape only
    weight = kernel.to(x.dtype).expand(C, 1, *kernel.shape)
    if up == (1, 1):
        x = F.pad(x, padding) if any(padding) else x
        return F.conv2d(x, weight.flip((2, 3)), stride=down, groups=C)
    left, right, top, bottom = padding
    (kh, kw), (up_y, up_x) = kernel.shape, up
    # A transposed convolution without padding has all outputs that any sample reaches: these are too many.
    excess = (kw - 1 - left, kw - up_x - right, kh - 1 - top, kh - up_y - bottom)
    crop_y, crop_x = max(min(excess[2:]), 0), max(min(excess[:2]), 0)
    x = F.conv_transpose2d(x, weight, stride=up, padding=(crop_y, crop_x), groups=C)
    rest = (crop_x - excess[0], crop_x - excess[1], crop_y - excess[2], crop_y - excess[3])
    x = F.pad(x, rest) if any(rest) else x
    return x[:, :, :: down[0], :: down[1]]


def upsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Twice the size, (N, C, H, W) -> (N, C, 2H, 2W), as the RGB skip connection of the generator does it.

    The transposed convolution never sees the inserted zeros: 4 products a pixel where the definition has 16.
    """
    C, k = int(x.shape[1]), kernel.shape[0]
    weight = (4 * kernel).to(x.dtype).expand(C, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, stride=2, padding=(k - 2) // 2, groups=C)


def downsample2d(x: Tensor, kernel: Tensor) -> Tensor:
    """Half the size, (N, C, H, W) -> (N, C, H/2, W/2), as the skips of the discriminator do it."""
    p = kernel.shape[0] - 2
    before, after = (p + 1) // 2, p // 2
    return upfirdn2d(x, kernel, down=2, padding=(before, after, before, after))


def upfirdn2d_reference(
    x: Tensor, kernel: Tensor, *, up: int = 1, down: int = 1, padding: Padding = (0, 0, 0, 0)
) -> Tensor:
    """The definition, tap by tap: slow, and the yardstick of everything above."""
    kernel = torch.outer(kernel, kernel) if kernel.ndim == 1 else kernel
    x = F.pad(_insert_zeros(x, up), padding)
    kh, kw = kernel.shape
    height, width = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    result = torch.zeros_like(x[:, :, :height, :width])
    for i in range(kh):
        for j in range(kw):
            result = result + kernel[kh - 1 - i, kw - 1 - j] * x[:, :, i : i + height, j : j + width]
    return result[:, :, ::down, ::down]


def _insert_zeros(x: Tensor, up: int) -> Tensor:
    """(N, C, H, W) -> (N, C, H * up, W * up): each sample, then up - 1 zeros, along both axes."""
    N, C, H, W = x.shape
    x = F.pad(x.reshape(N, C, H, 1, W, 1), (0, up - 1, 0, 0, 0, up - 1))
    return x.reshape(N, C, H * up, W * up)
