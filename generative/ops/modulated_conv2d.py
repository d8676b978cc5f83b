"""Convolution whose kernel is scaled by a style, section 2.2 of "Analyzing and Improving the Image Quality of
StyleGAN" (Karras et al., 2020).

Agrees with `modulated_conv2d` of NVlabs/stylegan2-ada-pytorch, which builds one kernel for each sample and
runs a grouped convolution (here: the reference). Scaling the input instead lets a batch share one kernel, so
samples of any batch size run as one plain convolution: faster on CPUs, and free of a fixed batch size when
exported.

Axis letters: N batch, I channels in, O channels out, H W pixels, k kernel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.ops.linear import linear
from generative.ops.upfirdn2d import upfirdn2d, upfirdn2d_reference


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    resample_filter: Tensor | None = None,
) -> Tensor:
    """Convolve each sample with its own kernel: `weight` scaled by that sample's style.

    The input is scaled instead of the kernel, and the output is demodulated, which is the same sum with one
    kernel for the whole batch. `resample_filter` makes the output twice as large.

    Args:
        x: (N, I, H, W).
        weight: (O, I, k, k), shared by the batch; k is odd.
        styles: (N, I), one scale for each input channel.
        demodulate: give every kernel unit norm (off in ToRGB).
        resample_filter: (4, 4) for an up-sampling layer.

    Returns:
        (N, O, H, W), or (N, O, 2H, 2W).
    """
    if x.dtype == torch.float16 and demodulate:  # against overflow; demodulation takes the factors out again
        weight = weight * (weight[0].numel() ** -0.5 / weight.abs().amax(dim=(1, 2, 3), keepdim=True))
        styles = styles / styles.abs().amax(dim=1, keepdim=True)
    if weight.shape[2:] == (1, 1) and not demodulate:
        return _pointwise(x, weight[:, :, 0, 0] * styles[:, None])
    scaled = x * styles[:, :, None, None].to(x.dtype)
    y = _convolve(scaled, weight.to(x.dtype), resample_filter)
    if demodulate:
        y = y * demodulation(weight, styles)[:, :, None, None].to(y.dtype)
    return y


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """(O, I, k, k), (N, I) -> (N, O): one over the norm of each sample's kernels, in their precision."""
    with torch.autocast(weight.device.type, enabled=False):
        power = linear(styles.to(weight.dtype).square(), weight.square().sum(dim=(2, 3)))
        return (power + 1e-8).rsqrt()


def _pointwise(x: Tensor, kernels: Tensor) -> Tensor:
    """(N, I, H, W), (N, O, I) -> (N, O, H, W), channels last: a product for each sample, and no pass to scale
    x. Rows have the same bits in any company, which those of a convolution to three channels have not.
    """
    y = torch.bmm(x.flatten(2).transpose(1, 2), kernels.to(x.dtype).transpose(1, 2))  # (N, H W, O)
    return y.transpose(1, 2).unflatten(2, x.shape[2:])


def _convolve(x: Tensor, weight: Tensor, resample_filter: Tensor | None) -> Tensor:
    if resample_filter is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (N, O, 2H + 1, 2W + 1)
    return upfirdn2d(x, 4 * resample_filter, padding=(1, 1, 1, 1))


def modulated_conv2d_reference(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    resample_filter: Tensor | None = None,
) -> Tensor:
    """The definition, sample by sample, each with a kernel of its own: slow, the yardstick of the above."""
    images = []
    for image, style in zip(x, styles, strict=True):
        w = weight * style[None, :, None, None]  # (O, I, k, k)
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if resample_filter is None:
            images.append(F.conv2d(image[None], w, padding=weight.shape[-1] // 2))
            continue
        taps = torch.ones(1, 1, dtype=x.dtype)
        zeros_between = upfirdn2d_reference(image[None], taps, up=2, padding=(2, 1, 2, 1))
        y = F.conv2d(zeros_between, w.flip((2, 3)))  # (1, O, 2H + 1, 2W + 1)
        images.append(upfirdn2d_reference(y, 4 * resample_filter, padding=(1, 1, 1, 1)))
    return torch.cat(images)
