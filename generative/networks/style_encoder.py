"""A hierarchical encoder: a picture to W+, after GH-Feat ("Generative Hierarchical Features from Synthesizing
Images", Xu et al., 2021), much smaller, and with ws in place of the scales and shifts of each layer.

A residual network without normalisation halves the picture down to 4x4. Its last three maps, 16x16, 8x8 and
4x4, are averaged to 4x4, and the deepest is added to the others, as in GH-Feat's pyramid. The deepest makes
the first third of the ws, which paint shape, the shallowest the last third, which paint colour and texture.
What is predicted are distances from the mean of w, in standard deviations.

Axis letters: N batch, L layers of the generator (num_ws), I channels in, O channels out, H W pixels.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.limits import check_layers, check_resolution, check_widths

LEVELS = 3  # depths that make ws
SIDE = 4  # pixels of the deepest map


@dataclass(frozen=True)
class StyleEncoderConfig:
    """`channels` are those of the stages, each of which halves the picture, down to 4 pixels."""

    img_resolution: int
    num_ws: int
    w_dim: int
    channels: tuple[int, ...]
    img_channels: int = 3
    lateral: int = 48  # channels that each depth is brought to
    hidden: int = 320  # units between a depth and its ws

    def __post_init__(self) -> None:
        check_resolution(self.img_resolution)
        check_widths(img_channels=self.img_channels, w_dim=self.w_dim, hidden=self.hidden)
        check_widths(lateral=self.lateral, **{f"stage{i}": c for i, c in enumerate(self.channels)})
        check_layers(self.num_ws)
        if len(self.channels) < LEVELS or SIDE << len(self.channels) != self.img_resolution:
            raise ValueError(
                f"stages that halve {self.img_resolution} pixels down to {SIDE}, at least {LEVELS}, "
                f"got {len(self.channels)}"
            )
        if self.num_ws < LEVELS:
            raise ValueError(f"num_ws must be at least {LEVELS}, got {self.num_ws}")

    @property
    def shares(self) -> tuple[int, ...]:
        """How many ws each depth makes, the deepest first."""
        return tuple((self.num_ws + LEVELS - 1 - i) // LEVELS for i in range(LEVELS))


class Stage(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, then half the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, bias=False)
        for conv in (self.conv0, self.conv1, self.skip):
            nn.init.kaiming_normal_(conv.weight, a=0.2)
        for conv in (self.conv1, self.skip):
            conv.weight.data *= 0.5**0.5  # their sum keeps the variance

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/2, W/2)."""
        y = F.leaky_relu(self.conv0(x), 0.2)
        return F.avg_pool2d(F.leaky_relu(self.conv1(y) + self.skip(x), 0.2), 2)


class Head(nn.Module):
    """The map of one depth to its ws. Begins with nothing, which is the mean of w."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc0 = nn.Linear(inputs * SIDE**2, hidden)
        self.fc1 = nn.Linear(hidden, outputs)
        nn.init.kaiming_normal_(self.fc0.weight, a=0.2)
        nn.init.zeros_(self.fc1.weight)
        nn.init.zeros_(self.fc1.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, 4, 4) -> (N, outputs)."""
        x = F.leaky_relu(x, 0.2).flatten(1)
        return self.fc1(F.leaky_relu(self.fc0(x), 0.2))


class Encoder(nn.Module):
    """Picture -> W+."""

    w_mean: Tensor  # (w_dim,)
    w_std: Tensor  # (w_dim,)

    def __init__(self, config: StyleEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.w_dim, self.num_ws = config.w_dim, config.num_ws
        self.stages = nn.ModuleList(Stage(i, o) for i, o in pairwise((config.img_channels, *config.channels)))
        depths = config.channels[: -LEVELS - 1 : -1]  # the deepest first
        self.laterals = nn.ModuleList(nn.Conv2d(c, config.lateral, 1) for c in depths)
        self.heads = nn.ModuleList(
            Head(config.lateral, config.hidden, share * config.w_dim) for share in config.shares
        )
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.register_buffer("w_std", torch.ones(config.w_dim))

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, img_channels, R, R) in [-1, 1] -> ws: (N, num_ws, w_dim)."""
        shape = (self.img_channels, self.img_resolution, self.img_resolution)
        if images.shape[1:] != shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, shape))}), got {tuple(images.shape)}")
        maps, x = [], images
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        small = [
            F.adaptive_avg_pool2d(lateral(x), SIDE)
            for lateral, x in zip(self.laterals, reversed(maps), strict=False)
        ]
        deepest = small[0]
        seen = [deepest, *(x + deepest for x in small[1:])]
        offsets = torch.cat([head(x) for head, x in zip(self.heads, seen, strict=True)], dim=1)
        return self.w_mean + self.w_std * offsets.unflatten(1, (self.num_ws, self.w_dim))
