"""The projected discriminator, from "Projected GANs Converge Faster" (Sauer et al., 2021).

Pictures are judged through the frozen stages of a feature network. Random projections, frozen too, mix the
channels of each stage (1x1) and then the stages from coarse to fine (3x3), so that no part of the features
can be ignored. Each scale has a head of its own with spectral normalisation (Miyato et al., 2018); one more
small critic looks at the pixels, for what the features cannot see.

Axis letters: N batch, C channels, H W pixels.
"""

from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from generative.networks.feature_network import FeatureNetwork

PROJECTED = (32, 48, 64, 96)  # channels after mixing, fine to coarse
HEAD = 96  # widest layer of a head
GROUP = 4  # samples that are compared with each other


class Projection(nn.Module):
    """Features of four scales, randomly mixed; has no trainable parameter."""

    def __init__(self, features: FeatureNetwork) -> None:
        super().__init__()
        self.features = features
        self.channels = PROJECTED
        self.mix_channels = nn.ModuleList(
            nn.Conv2d(i, o, 1) for i, o in zip(features.record.channels, PROJECTED, strict=True)
        )
        self.mix_scales = nn.ModuleList(
            nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in pairwise(PROJECTED)
        )
        for layer in [*self.mix_channels, *self.mix_scales]:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: the statistics of the feature network are frozen."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> (N, C, H / 2^i, W / 2^i) for i = 1 to 4."""
        maps = [mix(m) for mix, m in zip(self.mix_channels, self.features(images), strict=True)]
        mixed = [maps[-1]]
        for layer, finer in zip(reversed(self.mix_scales), reversed(maps[:-1]), strict=True):
            coarse = F.interpolate(mixed[-1], scale_factor=2.0, mode="bilinear", align_corners=False)
            mixed.append((layer(coarse) + finer) * 0.5**0.5)
        return mixed[::-1]


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))


class GroupDeviation(nn.Module):
    """One more channel: how much a group of samples differs, against mode collapse.

    As in Progressive GAN (Karras et al., 2018), but groups are neighbours in the batch: real and false
    pictures of one batch are not compared with each other.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), N up to GROUP or a multiple of it -> (N, C + 1, H, W)."""
        N, C, H, W = x.shape
        G = min(GROUP, N)
        groups = x.float().reshape(N // G, G, C, H, W)
        deviation = (groups.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # (N / G,)
        channel = deviation.repeat_interleave(G)[:, None, None, None].expand(N, 1, H, W)
        return torch.cat([x, channel.to(x.dtype)], dim=1)


def scale_head(channels: int, resolution: int) -> nn.Sequential:
    """(N, channels, resolution, resolution) -> logits (N, 1, 1, 1)."""
    layers: list[nn.Module] = []
    while resolution > 4:
        wider = min(2 * channels, HEAD)
        layers += [_conv(channels, wider, 4, 2, 1), nn.LeakyReLU(0.2)]
        channels, resolution = wider, resolution // 2
    layers += [
        GroupDeviation(),
        _conv(channels + 1, HEAD, 3, 1, 1),
        nn.LeakyReLU(0.2),
        _conv(HEAD, 1, resolution),
    ]
    return nn.Sequential(*layers)


def pixel_critic() -> nn.Sequential:
    """(N, 3, H, W) -> a logit for every patch, (N, 1, H / 4, W / 4)."""
    return nn.Sequential(
        _conv(3, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        _conv(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        GroupDeviation(),
        _conv(64 + 1, HEAD, 3, 1, 1),
        nn.LeakyReLU(0.2),
        _conv(HEAD, 1, 3, 1, 1),
    )


class ProjectedDiscriminator(nn.Module):
    """A logit from each scale and one from the pixels."""

    def __init__(self, features: FeatureNetwork) -> None:
        super().__init__()
        self.projection = Projection(features)
        resolution = features.record.resolution
        self.heads = nn.ModuleList(
            scale_head(c, resolution >> i) for i, c in enumerate(self.projection.channels, start=1)
        )
        self.pixels = pixel_critic()

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, H, W) in [-1, 1] -> logits (N, 5), high for real.

        In training mode each call takes a power-iteration step in every spectral norm, so give it real and
        false pictures in one batch.
        """
        logits = [head(m).flatten(1) for head, m in zip(self.heads, self.projection(images), strict=True)]
        logits.append(self.pixels(images).flatten(1).mean(dim=1, keepdim=True))
        return torch.cat(logits, dim=1)

    def features(self, images: Tensor) -> list[Tensor]:
        """images: (N, 3, H, W) -> maps (N, C, h, w) of all heads and the critic, each as deep as it looks at
        one sample alone: what it has learnt to see, to compare pictures by.
        """
        maps = []
        for head, x in zip([*self.heads, self.pixels], [*self.projection(images), images], strict=True):
            for layer in head.children():
                if isinstance(layer, GroupDeviation):
                    break
                x = layer(x)
                if isinstance(layer, nn.LeakyReLU):
                    maps.append(x)
        return maps
