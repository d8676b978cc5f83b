"""The original GAN: a multilayer perceptron, from "Generative Adversarial Nets" (Goodfellow et al., 2014).

There is no official checkpoint. This is the generator as tutorials write it: linear layers, some of them with
batch normalisation, leaky ReLU between, tanh or sigmoid at the end, and the numbers read as a square picture.

A hidden layer is named `layers.0`, `layers.1`, ...; to a hook it shows its output before the nonlinearity as
channels of one pixel. The last one shows the picture, before tanh or sigmoid.

Axis letters: N batch, C units or channels, R side of the picture in pixels.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Hook
from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.networks.limits import check_layers, check_widths
from generative.networks.z_only import ZOnlyGenerator

MAX_SIDE = 512  # pixels; a perceptron of larger pictures has billions of weights


@dataclass(frozen=True)
class GANConfig:
    """`widths` are the units of the hidden layers; `norms` says of each layer, the last one included, whether
    batch normalisation follows. `slope` is that of leaky ReLU below zero: 0 makes it ReLU.
    """

    z_dim: int
    widths: tuple[int, ...]
    norms: tuple[bool, ...]
    img_resolution: int
    img_channels: int = 1
    slope: float = 0.2
    norm_eps: float = 1e-5
    output: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        check_layers(len(self.norms))
        check_widths(z_dim=self.z_dim, img_channels=self.img_channels)
        check_widths(**{f"layer {i}": width for i, width in enumerate(self.widths)})
        if len(self.norms) != len(self.widths) + 1:
            raise ValueError(f"norms must say something of each of {len(self.widths) + 1} layers")
        if not 1 <= self.img_resolution <= MAX_SIDE:
            raise ValueError(f"resolution must be from 1 to {MAX_SIDE}, got {self.img_resolution}")
        if not (0 <= self.slope <= 1 and 0 < self.norm_eps <= 1):
            raise ValueError("slope and norm_eps are not those of any network")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers that go through the network: z, the hidden layers, the picture."""
        return (self.z_dim, *self.widths, self.img_channels * self.img_resolution**2)


class Generator(ZOnlyGenerator):
    """z -> picture, through vectors only."""

    family = "gan"

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config: GANConfig = config
        self.z_dim, self.c_dim = config.z_dim, 0
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(config.sizes))
        self.norms = nn.ModuleList(
            FrozenBatchNorm(size, config.norm_eps) if norm else nn.Identity()
            for size, norm in zip(config.sizes[1:], config.norms, strict=True)
        )

    def paint(self, z: Tensor, lod: float | None, hook: Hook) -> Tensor:
        N, last, x = z.shape[0], len(self.layers) - 1, z
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            R = self.img_resolution if i == last else 1
            x = hook(f"layers.{i}", norm(layer(x)).reshape(N, -1, R, R))  # (N, C, 1, 1) before the last
            if i < last:
                x = F.leaky_relu(x.flatten(1), self.config.slope)
        return x.tanh() if self.config.output == "tanh" else 2 * x.sigmoid() - 1
