"""Progressive GAN generator as facebookresearch/pytorch_GAN_zoo has it, from "Progressive Growing of GANs for
Improved Quality, Stability, and Variation" (Karras et al., 2018).

Parameter names and numbers are those of that repository, not of the paper's: there is one convolution at 4x4
after a linear layer, and the constant of the equalised learning rate multiplies the biases too, also those
of the layers to RGB. A layer is named by its path (`formatLayer`, `groupScale0.0`, `scaleLayers.1.0`,
`toRGBLayers.3`); a hook sees its output before the nonlinearity.

Axis letters: N batch, C channels, H W pixels.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook
from generative.networks.limits import check_layers, check_resolution, check_widths
from generative.networks.z_only import ZOnlyGenerator


@dataclass(frozen=True)
class ZooPGANConfig:
    """`channels` of the scales 4, 8, 16, ... pixels. `alpha` is how much of the picture comes from the scale
    before the last: 0 for none, which is how training ends.
    """

    z_dim: int
    channels: tuple[int, ...]
    img_channels: int = 3
    alpha: float = 0.0
    slope: float = 0.2
    tanh: bool = False

    def __post_init__(self) -> None:
        check_layers(len(self.channels))
        check_resolution(self.img_resolution)
        check_widths(z_dim=self.z_dim, img_channels=self.img_channels)
        check_widths(**{f"channels of scale {i}": c for i, c in enumerate(self.channels)})
        if not (0 <= self.alpha <= 1 and 0 <= self.slope <= 1):
            raise ValueError("alpha and slope must be from 0 to 1")
        if self.alpha and len(self.channels) == 1:
            raise ValueError("with one scale there is none to blend with: alpha must be 0")

    @property
    def img_resolution(self) -> int:
        return 2 << len(self.channels)


class Equalised(nn.Module):
    """A layer whose whole output, bias included, is multiplied by sqrt(2 / fan_in)."""

    def __init__(self, module: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.module = module
        self.gain = math.sqrt(2 / module.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C', ...)."""
        y: Tensor = self.module(x)
        return y * self.gain


class Generator(ZOnlyGenerator):
    """z -> picture, scale by scale. `lod` is alpha: 0 paints with the last scale, 1 with the one before."""

    family = "pggan"

    def __init__(self, config: ZooPGANConfig) -> None:
        super().__init__()
        self.config: ZooPGANConfig = config
        self.z_dim, self.c_dim = config.z_dim, 0
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        first = config.channels[0]
        self.max_lod = 1.0 if len(config.channels) > 1 else 0.0
        self.formatLayer = Equalised(nn.Linear(config.z_dim, 16 * first))
        self.groupScale0 = nn.ModuleList([_conv(first, first)])
        self.scaleLayers = nn.ModuleList(
            nn.ModuleList([_conv(inputs, outputs), _conv(outputs, outputs)])
            for inputs, outputs in pairwise(config.channels)
        )
        self.toRGBLayers = nn.ModuleList(
            Equalised(nn.Conv2d(channels, config.img_channels, 1)) for channels in config.channels
        )

    def paint(self, z: Tensor, lod: float | None, hook: Hook) -> Tensor:
        alpha = self.config.alpha if lod is None else lod
        maps = [self._smallest(z, hook)]
        for i in range(len(self.scaleLayers)):
            maps.append(self._scale(i, maps[-1], hook))
        image = self._to_rgb(len(maps) - 1, maps, hook)
        if alpha > 0:
            image = alpha * _double(self._to_rgb(len(maps) - 2, maps, hook)) + (1 - alpha) * image
        return image.tanh() if self.config.tanh else image

    def _smallest(self, z: Tensor, hook: Hook) -> Tensor:
        """z: (N, z_dim) -> (N, C, 4, 4)."""
        x = self.formatLayer(_normalise(z)).reshape(z.shape[0], -1, 4, 4)
        x = self._activate(hook("formatLayer", x))
        return self._activate(hook("groupScale0.0", self.groupScale0[0](x)))

    def _scale(self, i: int, x: Tensor, hook: Hook) -> Tensor:
        """(N, C, H, W) -> (N, C', 2H, 2W)."""
        x = _double(x)
        for name, layer in self.scaleLayers[i].named_children():
            x = self._activate(hook(f"scaleLayers.{i}.{name}", layer(x)))
        return x

    def _to_rgb(self, scale: int, maps: list[Tensor], hook: Hook) -> Tensor:
        """The picture of a scale, (N, img_channels, H, W), from the maps (N, C, H, W) of them all."""
        return hook(f"toRGBLayers.{scale}", self.toRGBLayers[scale](maps[scale]))

    def _activate(self, x: Tensor) -> Tensor:
        return _normalise(F.leaky_relu(x, self.config.slope))


def _conv(inputs: int, outputs: int) -> Equalised:
    return Equalised(nn.Conv2d(inputs, outputs, 3, padding=1))


def _normalise(x: Tensor) -> Tensor:
    """(N, C, ...) -> every pixel to unit mean square over its channels."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def _double(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2H, 2W), every pixel four times."""
    return F.interpolate(x, scale_factor=2, mode="nearest")
