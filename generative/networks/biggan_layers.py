"""The layers that the BigGAN networks share: BatchNorm with conditions, self-attention, the bottleneck block.

"Large Scale GAN Training for High Fidelity Natural Image Synthesis" (Brock et al., 2019), appendix B, and for
the attention "Self-Attention Generative Adversarial Networks" (Zhang et al., 2019). Their weights are
normalised by spectral norms; these layers hold the weights after that.

Axis letters: N batch, C I O channels, D length of a condition, H W pixels, S rows of statistics.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.generator import Generator
from generative.networks.limits import check_layers, check_widths

MAX_ATTENTION = 128  # side of the largest map with attention, whose memory grows with the fourth power of it


class Rows(NamedTuple):
    """The statistics of each picture: `share` of the row `first`, and the rest of the row `second`.

    All are (N,), or (1,) for one choice for all; `share` is float64.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    def of(self, table: Tensor) -> Tensor:
        """(S, C) -> (N or 1, C)."""
        share = self.share[:, None]
        return (table[self.first] * share + table[self.second] * (1 - share)).to(table.dtype)


class Norm(nn.Module):
    """BatchNorm with the statistics of training: one row of them, or `n_stats` rows to choose from."""

    mean: Tensor
    var: Tensor

    def __init__(self, channels: int, eps: float, n_stats: int | None) -> None:
        super().__init__()
        shape = (channels,) if n_stats is None else (n_stats, channels)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("var", torch.ones(shape))
        self.eps = eps

    def normalise(self, x: Tensor, gain: Tensor, bias: Tensor, rows: Rows | None) -> Tensor:
        """x: (N, C, H, W); gain, bias: (C,), or (N, C) -> (N, C, H, W)."""
        mean, var = (self.mean, self.var) if rows is None else (rows.of(self.mean), rows.of(self.var))
        scale = gain * torch.rsqrt(var + self.eps)
        return torch.addcmul(_over_pixels(bias), x - _over_pixels(mean), _over_pixels(scale))


class ConditionalNorm(Norm):
    """BatchNorm whose gain and bias are linear in a condition; the gain starts from 1."""

    def __init__(self, channels: int, condition: int, eps: float, n_stats: int | None = None) -> None:
        super().__init__(channels, eps, n_stats)
        self.gain = nn.Linear(condition, channels, bias=False)
        self.bias = nn.Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, y: Tensor, rows: Rows | None = None) -> Tensor:
        """x: (N, C, H, W), y: (N, D) -> (N, C, H, W)."""
        return self.normalise(x, 1 + self.gain(y), self.bias(y), rows)


class OutputNorm(Norm):
    """BatchNorm with a gain and a bias of its own."""

    def __init__(self, channels: int, eps: float, n_stats: int | None = None) -> None:
        super().__init__(channels, eps, n_stats)
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, rows: Rows | None = None) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return self.normalise(x, self.gain, self.bias, rows)


class SelfAttention(nn.Module):
    """Every pixel looks at the pixels of a map of half the size; what it sees is added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.o = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        query = self.theta(x).flatten(2)  # (N, C/8, HW)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)  # (N, C/8, HW/4)
        value = F.max_pool2d(self.g(x), 2).flatten(2)  # (N, C/2, HW/4)
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=2)  # (N, HW, HW/4)
        seen = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.o(seen)


class Bottleneck(nn.Module):
    """Four convolutions, the inner ones with a quarter of the channels. The shortcut drops the channels that
    are too many. It is the block of BigGAN-deep.
    """

    def __init__(
        self, inputs: int, outputs: int, condition: int, up: bool, eps: float, n_stats: int | None = None
    ) -> None:
        super().__init__()
        hidden = inputs // 4
        self.outputs, self.up = outputs, up
        self.bn1 = ConditionalNorm(inputs, condition, eps, n_stats)
        self.conv1 = nn.Conv2d(inputs, hidden, 1)
        self.bn2 = ConditionalNorm(hidden, condition, eps, n_stats)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.bn3 = ConditionalNorm(hidden, condition, eps, n_stats)
        self.conv3 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.bn4 = ConditionalNorm(hidden, condition, eps, n_stats)
        self.conv4 = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor, y: Tensor, rows: Rows | None = None) -> Tensor:
        """x: (N, I, H, W), y: (N, D) -> (N, O, H, W), or (N, O, 2H, 2W)."""
        h = self.conv1(F.relu(self.bn1(x, y, rows)))
        h = F.relu(self.bn2(h, y, rows))
        x = x[:, : self.outputs]
        if self.up:
            h, x = upsample(h), upsample(x)
        h = self.conv2(h)
        h = self.conv3(F.relu(self.bn3(h, y, rows)))
        return self.conv4(F.relu(self.bn4(h, y, rows))) + x


def _over_pixels(x: Tensor) -> Tensor:
    return x[..., None, None]


def upsample(x: Tensor) -> Tensor:
    """Every pixel four times: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def truncate_z(
    generator: Generator, z: Tensor, c: Tensor | None, psi: Tensor | float, lod: float | None
) -> tuple[Tensor, Tensor]:
    """z times psi, and c, once it is sure that they are what the generator takes. Raises ValueError."""
    if z.ndim != 2 or z.shape[1] != generator.z_dim:
        raise ValueError(f"z must be (N, {generator.z_dim}), got {tuple(z.shape)}")
    if c is None or c.shape != (len(z), generator.c_dim):
        got = "none" if c is None else tuple(c.shape)
        raise ValueError(f"c must be ({len(z)}, {generator.c_dim}), got {got}")
    if lod:
        raise ValueError("a BigGAN has no levels of detail")
    if isinstance(psi, Tensor):
        psi = psi.to(z).reshape(-1, 1)
        if len(psi) not in (1, len(z)):
            raise ValueError(f"psi must be a number or ({len(z)},), got {len(psi)} numbers")
    return z * psi, c


def check_blocks(channels: Sequence[int], eps: float, **widths: int) -> None:
    """Raises ValueError unless there can be blocks between these numbers of channels."""
    check_layers(len(channels) - 1)
    check_widths(**widths, **{f"channels[{i}]": width for i, width in enumerate(channels)})
    if not 0 < eps <= 1:
        raise ValueError(f"the epsilon of BatchNorm must be over 0 and at most 1, got {eps}")


def check_bottlenecks(channels: Sequence[int]) -> None:
    """Raises ValueError unless there can be `Bottleneck`s between these numbers of channels."""
    if min(channels[:-1]) < 4 or list(channels) != sorted(channels, reverse=True):
        raise ValueError("the channels of bottlenecks never grow, and there are at least 4")


def check_attention(places: Sequence[int], maps: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError unless `SelfAttention` can be had at these of the places, which have maps of so many
    channels and pixels a side.
    """
    if list(places) != sorted(set(places)) or not set(places) <= set(range(len(maps))):
        raise ValueError(f"attention has {len(maps)} possible places, got {list(places)[:10]}")
    for channels, side in (maps[i] for i in places):
        if channels < 8 or not 2 <= side <= MAX_ATTENTION:
            raise ValueError(f"no attention over {channels} channels of {side} pixels a side")
