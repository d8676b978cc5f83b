"""The encoder of "In-Domain GAN Inversion for Real Image Editing" (Zhu et al., 2020): a picture to its W+.

Parameter names and numbers are those of genforce/idinvert_pytorch (`StyleGANEncoder`). It is a ResNet whose
blocks halve the size, down to 4x4, and one linear layer makes all the ws.

Axis letters: N batch, L layers of the generator, I channels in, O channels out, H W pixels.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook
from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.networks.limits import check_widths
from generative.networks.progressive import check_channels


@dataclass(frozen=True)
class IdInvertEncoderConfig:
    """`channels` are those out of the blocks, from the resolution of the picture down to 4 pixels."""

    img_resolution: int
    channels: tuple[int, ...]
    img_channels: int = 3
    w_dim: int = 512

    def __post_init__(self) -> None:
        check_channels(self.img_resolution, self.channels)
        check_widths(img_channels=self.img_channels, w_dim=self.w_dim)

    @property
    def num_ws(self) -> int:
        """Layers of the generator, two for each resolution."""
        return 2 * len(self.channels)


def norm(channels: int) -> nn.Sequential:
    """Batch normalisation under the names `bn.weight`, ..."""
    return nn.Sequential(OrderedDict(bn=FrozenBatchNorm(channels)))


class Bias(nn.Module):
    """One number for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        return x + self.bias[:, None, None]


class FirstBlock(nn.Module):
    """Channels of the picture to features."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H, W)."""
        return F.leaky_relu(self.bn(self.conv(x)), 0.2)


class ResBlock(nn.Module):
    """Half the size, then two convolutions beside a shortcut, which has one where the channels change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = inputs != outputs
        if self.shortcut:
            self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.bn = norm(outputs)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.wscale1 = Bias(inputs)
        self.bn1 = norm(inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.wscale2 = Bias(outputs)
        self.bn2 = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/2, W/2)."""
        x = F.avg_pool2d(x, 2)
        y = F.leaky_relu(self.bn1(self.wscale1(self.conv1(x))), 0.2)
        y = F.leaky_relu(self.bn2(self.wscale2(self.conv2(y))), 0.2)
        return y + (F.leaky_relu(self.bn(self.conv(x)), 0.2) if self.shortcut else x)


class LastBlock(nn.Module):
    """Features to numbers. Its weight is scaled, unlike those of the convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inputs, outputs, bias=False)
        self.bn = norm(outputs)
        self.gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, outputs)."""
        return self.bn(self.fc(x.flatten(1)) * self.gain)


class Encoder(nn.Module):
    """Picture -> W+, not as a distance from the mean of w."""

    def __init__(self, config: IdInvertEncoderConfig) -> None:
        super().__init__()
        self.config, self.img_channels = config, config.img_channels
        self.w_dim, self.num_ws, self.img_resolution = config.w_dim, config.num_ws, config.img_resolution
        self.block0 = FirstBlock(config.img_channels, config.channels[0])
        for i, (inputs, outputs) in enumerate(pairwise(config.channels), start=1):
            self.add_module(f"block{i}", ResBlock(inputs, outputs))
        last = LastBlock(16 * config.channels[-1], config.num_ws * config.w_dim)
        self.add_module(f"block{len(config.channels)}", last)

    def forward(self, images: Tensor, hook: Hook | None = None) -> Tensor:
        """images: (N, img_channels, R, R) in [-1, 1] -> ws: (N, num_ws, w_dim)."""
        shape = (self.config.img_channels, self.img_resolution, self.img_resolution)
        if images.shape[1:] != shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, shape))}), got {tuple(images.shape)}")
        x = images
        for name, block in self.named_children():
            x = block(x) if hook is None else hook(name, block(x))
        return x.unflatten(1, (self.num_ws, self.w_dim))
