"""What PGGAN and StyleGAN share: "Progressive Growing of GANs" (Karras et al., 2018), sections 2 and 4.

They are trained one resolution after another: block 0 is 4x4, every further block doubles the size. A level
of detail (lod) says how much is left out: 0 is nothing, 1 the finest resolution, and between two whole
numbers the pictures of two blocks are blended.

Axis letters: N batch, C channels, I channels in, O channels out, H W pixels.
"""

import math
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.limits import check_resolution, check_widths

LRELU_GAIN = math.sqrt(2)  # is in the weights here, not behind the activation as in StyleGAN2
Paint = Callable[[int, Tensor], Tensor]  # block, its features (N, C, H, W) -> its picture


class Grown(nn.Module):
    """Has a level of detail of its own, `lod`: a buffer, since checkpoints hold it, but one that stays on the
    CPU, since it decides which layers run: another device would have to end all its work to answer.
    """

    lod: Tensor  # (), how far the checkpoint had grown when it was saved; 0 for a finished network

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("lod", torch.zeros([]))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        lod = self.lod
        super()._apply(fn, recurse)
        self.lod = lod
        return self


def check_channels(img_resolution: int, channels: tuple[int, ...]) -> None:
    """Raises ValueError unless there is a possible number of channels for each resolution from 4 pixels."""
    check_resolution(img_resolution)
    if len(channels) != img_resolution.bit_length() - 2:
        raise ValueError(f"{len(channels)} numbers of channels do not go with {img_resolution} pixels")
    check_widths(**{f"channels[{i}]": C for i, C in enumerate(channels)})


def pixel_norm(x: Tensor) -> Tensor:
    """(N, C, ...) to unit mean square over the channels."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def equalised(weight: Tensor, fan_in: int, gain: float = LRELU_GAIN) -> Tensor:
    """The weight that is used, from one that is stored with unit variance."""
    return weight * (gain / math.sqrt(fan_in))


def double(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W), every pixel four times."""
    return F.interpolate(x, scale_factor=2.0)


def fused_up_conv(x: Tensor, weight: Tensor) -> Tensor:
    """`double` and a convolution with the flipped kernel, as one transposed convolution: 4 products where
    that has 9.

    x: (N, I, H, W), weight: (I, O, 3, 3) -> (N, O, 2H, 2W).
    """
    w = F.pad(weight, (1, 1, 1, 1))
    w = w[:, :, 1:, 1:] + w[:, :, :-1, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, :-1]  # (I, O, 4, 4)
    return F.conv_transpose2d(x, w, stride=2, padding=1)


def last_block(lod: float, blocks: int) -> int:
    """The finest block that has a part in the picture. Raises ValueError for a level that is not there."""
    if not 0 <= lod <= blocks - 1:
        raise ValueError(f"lod must be from 0 to {blocks - 1}, got {lod}")
    return blocks - 1 - math.floor(lod)


def blended(paint: Paint, x: Tensor, before: Tensor, lod: float, blocks: int) -> Tensor:
    """The picture of the last block that runs and, at a fraction of a level, of the block before it.

    Args:
        x, before: (N, C, H, W) and (N, C, H/2, W/2), the features of the two.

    Returns:
        (N, img_channels, R, R), R the full resolution: copies of pixels fill in for what is left out.
    """
    last = last_block(lod, blocks)
    image = paint(last, x)
    if fraction := lod % 1:
        image = torch.lerp(image, double(paint(last - 1, before)), fraction)
    return F.interpolate(image, scale_factor=2.0 ** (blocks - 1 - last))
