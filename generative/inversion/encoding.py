"""Pictures to latents: how any encoder of `generative.families.ENCODERS` is asked."""

from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.generator import StyleGenerator
from generative.inversion.restyle import restyle
from generative.networks import ghfeat_encoder
from generative.spaces import Space, broadcast


class Encoder(Protocol):
    """Takes pictures (N, C, R, R) of its own size; gives ws (N, L, D), or one w (N, D) for all layers. That
    of GH-Feat gives styles.

    One that takes twice as many channels is ReStyle's, and sees what it has painted so far as well.
    """

    img_resolution: int
    img_channels: int

    def __call__(self, *args: Any) -> Tensor: ...


class Residual(Encoder, Protocol):
    """ReStyle's, which begins at the mean that it was trained with."""

    latent_avg: Tensor  # (L, D)


def seen_in(encoder: Encoder) -> Space:
    """The space of what `encode` makes: W+, or S."""
    return Space.S if isinstance(encoder, ghfeat_encoder.Encoder) else Space.W_PLUS


def encode(encoder: Encoder, images: Tensor, generator: StyleGenerator) -> Tensor:
    """images: (N, C, H, W) in [-1, 1], of any size -> ws (N, L, D) of the generator, or its styles (N, S) if
    the encoder sees those.

    An encoder of smaller pictures than these sees them averaged, as the official codes have it.
    """
    side = encoder.img_resolution
    if images.shape[2] > side:
        images = F.interpolate(images, size=(side, side), mode="area")
    elif images.shape[2] < side:
        images = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    if encoder.img_channels == 2 * images.shape[1]:
        average = cast(Residual, encoder).latent_avg
        *_, last = restyle(images, encoder, generator.synthesize, average)
        return last.ws
    found = encoder(images)
    if isinstance(encoder, ghfeat_encoder.Encoder):
        return torch.cat(ghfeat_encoder.styles_of(found, encoder.config.style_widths), dim=1)
    return broadcast(found, generator.num_ws)
