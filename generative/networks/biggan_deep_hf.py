"""The generator of BigGAN-deep as the authors published it on TensorFlow Hub.

"Large Scale GAN Training for High Fidelity Natural Image Synthesis" (Brock et al., 2019), appendices B and
C.1, written from the paper; agrees with huggingface/pytorch-pretrained-BigGAN. It differs from
`generative.networks.biggan_deep` in the order of its numbers and in BatchNorm, which has statistics for every
truncation.

Axis letters: N batch, C channels, D length of a condition, H W pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative import generator
from generative.generator import Hook, pass_on
from generative.networks.biggan_layers import (
    Bottleneck,
    OutputNorm,
    Rows,
    SelfAttention,
    check_attention,
    check_blocks,
    check_bottlenecks,
    truncate_z,
)
from generative.networks.limits import check_resolution, check_widths

SIDE = 4  # of the first map
Z_LIMIT = 2.0  # z is normal noise within these bounds


@dataclass(frozen=True)
class BigGANDeepHFConfig:
    """What the weights do not say. `channels` are those that the first block takes and that each block makes,
    `upsampling` says which blocks double the size, `attention_before` before which of them, from 0, attention
    comes.
    """

    z_dim: int
    c_dim: int
    channels: tuple[int, ...]
    upsampling: tuple[bool, ...]
    attention_before: int | None = None
    embed_dim: int = 128
    eps: float = 1e-4
    n_stats: int = 51

    def __post_init__(self) -> None:
        check_blocks(self.channels, self.eps, z_dim=self.z_dim, c_dim=self.c_dim)
        check_bottlenecks(self.channels)
        check_widths(embed_dim=self.embed_dim, n_stats=self.n_stats)
        blocks = len(self.channels) - 1
        if len(self.upsampling) != blocks:
            raise ValueError(f"{len(self.upsampling)} answers to whether {blocks} blocks double the size")
        check_resolution(self.img_resolution)
        if self.n_stats < 2:
            raise ValueError("there are at least two rows of statistics, for no and for full noise")
        if self.attention_before is not None:
            sides = [self.side(i) for i in range(blocks)]
            check_attention([self.attention_before], list(zip(self.channels[:-1], sides, strict=True)))

    def side(self, block: int) -> int:
        """Of the maps that the block takes, in pixels."""
        return SIDE << sum(self.upsampling[:block])

    @property
    def img_resolution(self) -> int:
        return self.side(len(self.upsampling))


class Generator(generator.Generator):
    """z and a mix of classes -> picture; see `generative.generator` for what each method promises.

    psi is from 0 to 1. A hook sees `linear`, `blocks.0`, ... , `attention` before one of them, and `rgb`, the
    picture.
    """

    family = "biggan-deep"
    psi_acts_on = "z"
    pixel_gain = 128.0

    def __init__(self, config: BigGANDeepHFConfig) -> None:
        super().__init__()
        self.config: BigGANDeepHFConfig = config
        self.z_dim, self.c_dim = config.z_dim, config.c_dim
        self.img_resolution, self.img_channels = config.img_resolution, 3
        condition = config.z_dim + config.embed_dim
        self.embeddings = nn.Linear(config.c_dim, config.embed_dim, bias=False)
        self.linear = nn.Linear(condition, config.channels[0] * SIDE**2)
        shapes = zip(config.channels[:-1], config.channels[1:], config.upsampling, strict=True)
        self.blocks = nn.ModuleList(
            Bottleneck(inputs, outputs, condition, up, config.eps, config.n_stats)
            for inputs, outputs, up in shapes
        )
        if config.attention_before is not None:
            self.attention = SelfAttention(config.channels[config.attention_before])
        self.output_norm = OutputNorm(config.channels[-1], config.eps, config.n_stats)
        self.rgb = nn.Conv2d(config.channels[-1], self.img_channels, 3, padding=1)

    def draw_z(self, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(z_dim,), normal noise between -2 and 2, as `truncnorm.rvs(-2, 2, size=(1, z_dim))` of scipy."""
        uniform = torch.from_numpy(np.random.RandomState(seed).uniform(size=(1, self.z_dim))[0])
        low, high = torch.special.ndtr(torch.tensor([-Z_LIMIT, Z_LIMIT], dtype=torch.float64))
        return torch.special.ndtri(low + uniform * (high - low)).numpy()

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
        return self.paint(z, c, choose_rows(decimals(psi), self.config.n_stats, z.device), see)

    def paint(self, z: Tensor, c: Tensor, rows: Rows, see: Hook = pass_on) -> Tensor:
        """z: (N, z_dim), truncated, c: (N, c_dim), rows: the statistics -> (N, img_channels, R, R)."""
        y = torch.cat([z, self.embeddings(c)], dim=1)  # (N, D)
        x = self.linear(y).unflatten(1, (SIDE, SIDE, -1)).permute(0, 3, 1, 2).contiguous()
        x = see("linear", x)
        for i, block in enumerate(self.blocks):
            if i == self.config.attention_before:
                x = see("attention", self.attention(x))
            x = see(f"blocks.{i}", block(x, y, rows))
        return see("rgb", torch.tanh(self.rgb(F.relu(self.output_norm(x, rows)))))


def decimals(psi: Tensor | float) -> list[float]:
    """The truncations as they were written: what a float32 makes of 0.4 would choose another row."""
    if not isinstance(psi, Tensor):
        return [psi]
    numbers = psi.reshape(-1).tolist()
    return numbers if psi.dtype == torch.float64 else [round(number, 6) for number in numbers]


def choose_rows(psi: list[float], n_stats: int, device: torch.device) -> Rows:
    """The statistics for truncations from 0 to 1, which the rows divide evenly. Raises ValueError for others.

    Between two rows the official code gives each the weight that is due to the other; and where a quotient
    that should be whole is rounded up or down (0.14, 0.28, 0.56, 0.58, 0.94 with 51 rows), it takes a row
    beside the right one. Its pictures depend on both.
    """
    if not all(0 <= number <= 1 for number in psi):
        raise ValueError(f"the truncation of this network is from 0 to 1, got {psi[:10]}")
    # Filled there: what comes along from the CPU could not be recorded with the rest.
    filled = [torch.full((1,), number, dtype=torch.float64, device=device) for number in psi]
    return rows_of(torch.cat(filled), n_stats)


def rows_of(psi: Tensor, n_stats: int) -> Rows:
    """As `choose_rows`, of float64 numbers (N,) that are known to be from 0 to 1."""
    place = psi / (1 / (n_stats - 1))
    part = place - place.floor()
    first = place.floor().long()
    share = torch.where(part == 0, torch.ones_like(part), part)
    return Rows(first, (first + 1).clamp(max=n_stats - 1), share)
