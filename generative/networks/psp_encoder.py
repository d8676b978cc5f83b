"""The encoder of "Encoding in Style" (pSp, Richardson et al., 2021): a picture to its W+, one small network
for each layer of the generator.

Numbers are those of eladrich/pixel2style2pixel (`GradualStyleEncoder`) and of yuval-alaluf/restyle-encoder
("ReStyle", Alaluf et al., 2021), whose encoders see the picture and what was painted of it so far, six
channels in all, and may do without the pyramid (`BackboneEncoder`) or on ResNet-34 (`ResNetBackboneEncoder`).

Parameter names are theirs; those of the residual network have `trunk.` before them. They predict distances
from a code to start with, which is the mean of w unless one is given.

Axis letters: N batch, L layers of the generator, C channels, H W pixels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks import ir_se50, resnet34
from generative.networks.limits import check_layers, check_widths
from generative.networks.mapping import FullyConnected

MIDDLE, FINE = 3, 7  # the first layers that look at the middle and at the fine map
SIDE = 256  # pixels of the longer side; the official code shows it cars of 192 x 256
HALVINGS = (4, 5, 6)  # of the coarse, middle and fine map at 256 pixels, down to one place
Trunk = Literal["ir_se50", "resnet34"]
TRUNKS = {"ir_se50": ir_se50.Trunk, "resnet34": resnet34.Trunk}


@dataclass(frozen=True)
class StyleMapEncoderConfig:
    """`channels` and `depths` are those of the stages of the trunk; w is as wide as the last of them."""

    num_ws: int
    img_channels: int = 3
    trunk: Trunk = "ir_se50"
    channels: tuple[int, ...] = ir_se50.CHANNELS
    depths: tuple[int, ...] = ir_se50.DEPTHS
    pyramid: bool = True

    def __post_init__(self) -> None:
        check_layers(self.num_ws)
        check_widths(img_channels=self.img_channels, **{f"stage{i}": C for i, C in enumerate(self.channels)})
        if (len(self.channels), len(self.depths)) != (4, 4):
            raise ValueError("the trunk has four stages, each with its channels and its depth")
        check_layers(sum(self.depths))
        check_layers(min(self.depths))
        if self.trunk == "ir_se50" and min(self.channels) < ir_se50.REDUCTION:
            raise ValueError(f"stages of IR-SE50 have at least {ir_se50.REDUCTION} channels")

    @property
    def w_dim(self) -> int:
        return self.channels[-1]


class MapToStyle(nn.Module):
    """Convolutions that halve a map until one place is left, and a linear layer."""

    def __init__(self, channels: int, halvings: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(halvings):
            layers += [nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = FullyConnected(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        w: Tensor = self.linear(self.convs(x).flatten(1))
        return w


class Encoder(nn.Module):
    """Picture -> W+."""

    latent_avg: Tensor  # (num_ws, w_dim)
    img_resolution = SIDE

    def __init__(self, config: StyleMapEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.w_dim, self.num_ws, self.img_channels = config.w_dim, config.num_ws, config.img_channels
        self.trunk = TRUNKS[config.trunk](config.img_channels, config.channels, config.depths)
        self.styles = nn.ModuleList(
            MapToStyle(config.w_dim, HALVINGS[self._map_of(i)]) for i in range(config.num_ws)
        )
        if config.pyramid:
            self.latlayer1 = nn.Conv2d(config.channels[2], config.w_dim, 1)
            self.latlayer2 = nn.Conv2d(config.channels[1], config.w_dim, 1)
        self.register_buffer("latent_avg", torch.zeros(config.num_ws, config.w_dim))

    def forward(self, images: Tensor, start: Tensor | None = None) -> Tensor:
        """The codes that paint pictures.

        Args:
            images: (N, img_channels, H, W) in [-1, 1], the longer side 256; for ReStyle, three channels of
                the pictures and three of what `start` paints.
            start: (N, num_ws, w_dim), codes to go on from; None for the mean.

        Returns:
            ws: (N, num_ws, w_dim).
        """
        return self.predictions(images) + (self.latent_avg if start is None else start)

    def predictions(self, images: Tensor) -> Tensor:
        """What the network of each layer says. (N, img_channels, H, W) -> (N, num_ws, w_dim)."""
        if images.ndim != 4 or images.shape[1] != self.img_channels or max(images.shape[2:]) != SIDE:
            expected = f"(N, {self.img_channels}, H, W), the longer side {SIDE}"
            raise ValueError(f"images must be {expected}, got {tuple(images.shape)}")
        maps = self._maps(images)
        return torch.stack([style(maps[self._map_of(i)]) for i, style in enumerate(self.styles)], dim=1)

    def _map_of(self, layer: int) -> int:
        """The map that a layer looks at: coarse, middle or fine."""
        if not self.config.pyramid:
            return 0
        return (layer >= MIDDLE) + (layer >= FINE)

    def _maps(self, images: Tensor) -> list[Tensor]:
        """(N, img_channels, H, W) -> (N, w_dim, H', W') at a 16th of the size, an 8th and a quarter."""
        *_, fine, middle, coarse = self.trunk(images)
        if not self.config.pyramid:
            return [coarse]
        middle = added(coarse, self.latlayer1(middle))
        return [coarse, middle, added(middle, self.latlayer2(fine))]


def added(small: Tensor, large: Tensor) -> Tensor:
    """(N, C, h, w) enlarged bilinearly, corner to corner, and (N, C, H, W) -> (N, C, H, W)."""
    return F.interpolate(small, large.shape[2:], mode="bilinear", align_corners=True) + large
