"""Float pictures to bytes, rounded as the official scripts round.

NVlabs (stylegan2-ada-pytorch, stylegan3) truncates 127.5 x + 128; rosinality and genforce round
127.5 (x + 1): the same number, so there is one function. Hugging Face's BigGAN multiplies by 128,
and ALAE truncates 127.5 x + 127.5.
"""

import torch
from torch import Tensor


def to_uint8(images: Tensor, gain: float = 127.5, offset: float = 128) -> Tensor:
    """(N, C, H, W) float in [-1, 1], clamped -> (N, H, W, C) uint8. The rest: `Generator.pixel_gain`, ..."""
    return (images.permute(0, 2, 3, 1) * gain + offset).clamp(0, 255).to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32 in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1
