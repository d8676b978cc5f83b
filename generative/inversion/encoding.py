"""Pictures to latents by one look: how any encoder of `generative.families.ENCODERS` is asked."""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from generative.spaces import broadcast


class Encoder(Protocol):
    """Takes pictures (N, C, R, R) of its own size; gives ws (N, L, D), or one w (N, D) for all layers."""

    img_resolution: int

    def __call__(self, images: Tensor) -> Tensor: ...


def encode(encoder: Encoder, images: Tensor, num_ws: int) -> Tensor:
    """images: (N, C, H, W) in [-1, 1], of any size -> ws (N, L, D).

    An encoder of smaller pictures than these sees them averaged, as the official codes have it.
    """
    side = encoder.img_resolution
    if images.shape[2] > side:
        images = F.interpolate(images, size=(side, side), mode="area")
    elif images.shape[2] < side:
        images = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    return broadcast(encoder(images), num_ws)
