"""The generator of BigGAN-deep.

"Large Scale GAN Training for High Fidelity Natural Image Synthesis" (Brock et al., 2019), appendix B, written
from the paper; agrees with ajbrock/BigGAN-PyTorch in evaluation mode. The weights that the authors published
for TensorFlow Hub are another network to us: `generative.networks.biggan_deep_hf`.

Axis letters: N batch, C channels, D length of a condition, H W pixels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative import generator
from generative.generator import Hook, pass_on
from generative.networks.biggan_layers import (
    Bottleneck,
    OutputNorm,
    SelfAttention,
    check_attention,
    check_blocks,
    check_bottlenecks,
    truncate_z,
)
from generative.networks.limits import check_resolution, check_widths

OUTPUT_EPS = 1e-5  # the official code gives `bn_eps` to the blocks alone


@dataclass(frozen=True)
class BigGANDeepConfig:
    """What the weights do not say. `channels` are those that the first block takes and that each block makes;
    `attention` counts the blocks, from 0, that attention comes after. Of every `depth` blocks, the last one
    doubles the size.
    """

    z_dim: int
    c_dim: int
    channels: tuple[int, ...]
    shared_dim: int = 128
    depth: int = 2
    attention: tuple[int, ...] = ()
    bottom_width: int = 4
    bn_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_blocks(self.channels, self.bn_eps, z_dim=self.z_dim, c_dim=self.c_dim)
        check_bottlenecks(self.channels)
        check_widths(shared_dim=self.shared_dim, depth=self.depth, bottom_width=self.bottom_width)
        if self.blocks % self.depth:
            raise ValueError(f"{self.blocks} blocks cannot be {self.depth} for each size")
        check_resolution(self.img_resolution)
        sides = [self.bottom_width << ((i + 1) // self.depth) for i in range(self.blocks)]
        check_attention(self.attention, list(zip(self.channels[1:], sides, strict=True)))

    @property
    def blocks(self) -> int:
        return len(self.channels) - 1

    @property
    def img_resolution(self) -> int:
        return self.bottom_width << (self.blocks // self.depth)


class Generator(generator.Generator):
    """z and a mix of classes -> picture; see `generative.generator` for what each method promises.

    A hook sees `linear`, `blocks.0`, ... , `attention.3` after `blocks.3`, and `rgb`, the picture.
    """

    family = "biggan-deep"
    psi_acts_on = "z"

    def __init__(self, config: BigGANDeepConfig) -> None:
        super().__init__()
        self.config: BigGANDeepConfig = config
        self.z_dim, self.c_dim = config.z_dim, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, 3
        condition = config.shared_dim + config.z_dim
        self.shared = nn.Linear(config.c_dim, config.shared_dim, bias=False)
        self.linear = nn.Linear(condition, config.channels[0] * config.bottom_width**2)
        self.blocks = nn.ModuleList(
            Bottleneck(*widths, condition, up=(i + 1) % config.depth == 0, eps=config.bn_eps)
            for i, widths in enumerate(zip(config.channels[:-1], config.channels[1:], strict=True))
        )
        self.attention = nn.ModuleDict(
            {str(i): SelfAttention(config.channels[i + 1]) for i in config.attention}
        )
        self.output_norm = OutputNorm(config.channels[-1], OUTPUT_EPS)
        self.rgb = nn.Conv2d(config.channels[-1], self.img_channels, 3, padding=1)

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
        y = torch.cat([self.shared(c), z], dim=1)  # (N, D)
        side = self.config.bottom_width
        x = see("linear", self.linear(y).unflatten(1, (-1, side, side)))
        for i, block in enumerate(self.blocks):
            x = see(f"blocks.{i}", block(x, y))
            if i in self.config.attention:
                x = see(f"attention.{i}", self.attention[str(i)](x))
        return see("rgb", torch.tanh(self.rgb(F.relu(self.output_norm(x)))))
