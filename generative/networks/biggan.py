"""The generator of BigGAN.

"Large Scale GAN Training for High Fidelity Natural Image Synthesis" (Brock et al., 2019), written from the
paper; agrees with ajbrock/BigGAN-PyTorch in evaluation mode.

Axis letters: N batch, C I O channels, D length of a condition, H W pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative import generator
from generative.generator import Hook, pass_on
from generative.networks.biggan_layers import (
    ConditionalNorm,
    OutputNorm,
    SelfAttention,
    check_attention,
    check_blocks,
    truncate_z,
    upsample,
)
from generative.networks.limits import check_resolution, check_widths

OUTPUT_EPS = 1e-5  # the official code gives `bn_eps` to the blocks alone


@dataclass(frozen=True)
class BigGANConfig:
    """What the weights do not say. `channels` are those that the first block takes and that each block makes;
    `attention` counts the blocks, from 0, that attention comes after.

    With a `shared_dim` of 0, every BatchNorm has an embedding of the classes for itself.
    """

    z_dim: int
    c_dim: int
    channels: tuple[int, ...]
    shared_dim: int = 128
    hierarchical: bool = True
    attention: tuple[int, ...] = ()
    bottom_width: int = 4
    bn_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_blocks(self.channels, self.bn_eps, z_dim=self.z_dim, c_dim=self.c_dim)
        check_widths(shared_dim=self.shared_dim or 1, bottom_width=self.bottom_width)
        check_resolution(self.img_resolution)
        if self.hierarchical and not self.shared_dim:
            raise ValueError("a hierarchical z needs a shared embedding")
        if self.z_dim % self.slots:
            raise ValueError(f"z_dim must be a multiple of {self.slots}, got {self.z_dim}")
        sides = [self.bottom_width << (i + 1) for i in range(self.blocks)]
        check_attention(self.attention, list(zip(self.channels[1:], sides, strict=True)))

    @property
    def blocks(self) -> int:
        return len(self.channels) - 1

    @property
    def slots(self) -> int:
        """Into how many parts z is cut: a hierarchical one feeds the first layer, and every block."""
        return self.blocks + 1 if self.hierarchical else 1

    @property
    def condition(self) -> int:
        """Length of what a block gets."""
        return (self.shared_dim or self.c_dim) + (self.z_dim // self.slots if self.hierarchical else 0)

    @property
    def img_resolution(self) -> int:
        return self.bottom_width << self.blocks


class Block(nn.Module):
    """Two convolutions to twice the size, beside a shortcut with a convolution of its own."""

    def __init__(self, inputs: int, outputs: int, condition: int, eps: float) -> None:
        super().__init__()
        self.bn1 = ConditionalNorm(inputs, condition, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.bn2 = ConditionalNorm(outputs, condition, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_sc = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x: (N, I, H, W), y: (N, D) -> (N, O, 2H, 2W)."""
        h = self.conv1(upsample(F.relu(self.bn1(x, y))))
        h = self.conv2(F.relu(self.bn2(h, y)))
        return h + upsample(self.conv_sc(x))  # as convolving the larger map, at a quarter of the cost


class Generator(generator.Generator):
    """z and a mix of classes -> picture; see `generative.generator` for what each method promises.

    A hook sees `linear`, `blocks.0`, ... , `attention.1` after `blocks.1`, and `rgb`, the picture.
    """

    family = "biggan"
    psi_acts_on = "z"

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        self.config: BigGANConfig = config
        self.z_dim, self.c_dim = config.z_dim, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, 3
        first, last = config.channels[0], config.channels[-1]
        shared = config.shared_dim
        self.shared = nn.Linear(config.c_dim, shared, bias=False) if shared else nn.Identity()
        self.linear = nn.Linear(config.z_dim // config.slots, first * config.bottom_width**2)
        self.blocks = nn.ModuleList(
            Block(inputs, outputs, config.condition, config.bn_eps)
            for inputs, outputs in zip(config.channels[:-1], config.channels[1:], strict=True)
        )
        self.attention = nn.ModuleDict(
            {str(i): SelfAttention(config.channels[i + 1]) for i in config.attention}
        )
        self.output_norm = OutputNorm(last, OUTPUT_EPS)
        self.rgb = nn.Conv2d(last, self.img_channels, 3, padding=1)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        psi: Tensor | float = 1.0,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        see = hook or pass_on
        z, c = truncate_z(self, z, c, psi, lod)
        first, *conditions = self._conditions(z, self.shared(c))
        side = self.config.bottom_width
        x = see("linear", self.linear(first).unflatten(1, (-1, side, side)))
        for i, (block, y) in enumerate(zip(self.blocks, conditions, strict=True)):
            x = see(f"blocks.{i}", block(x, y))
            if i in self.config.attention:
                x = see(f"attention.{i}", self.attention[str(i)](x))
        return see("rgb", torch.tanh(self.rgb(F.relu(self.output_norm(x)))))

    def _conditions(self, z: Tensor, y: Tensor) -> list[Tensor]:
        """What the first layer takes, and the condition (N, D) of each block. y: the classes, embedded."""
        if not self.config.hierarchical:
            return [z, *[y] * self.config.blocks]
        first, *chunks = z.chunk(self.config.slots, dim=1)
        return [first, *(torch.cat([y, chunk], dim=1) for chunk in chunks)]
