"""The encoder of "Generative Hierarchical Features from Synthesizing Images" (GH-Feat, Xu et al., 2021): a
picture to the styles of all layers of a StyleGAN.

Architecture and conventions are those of genforce/ghfeat, whose TensorFlow code was read but not run: no
numbers of it were compared. Names are ours. A ResNet-50 with one more block (res6), a feature pyramid over
res4, res5 and res6, all brought to the size of the smallest, which is then added to the others. The deepest
map makes the styles of the first layers, the shallowest those of the last.

A row of features is as long as the longest style; a shorter style is repeated until it fills its row.

Axis letters: N batch, L layers of the generator, I channels in, O channels out, C channels, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.networks.limits import check_layers, check_resolution, check_widths
from generative.networks.stages import Stages

LEVELS = 3  # maps of the pyramid
SHARE = 4  # layers that the two deepest of them make, each; the shallowest makes the rest


@dataclass(frozen=True)
class GHFeatEncoderConfig:
    """`style_widths` are those of the generator's layers, twice its channels: first all scales, then all
    shifts.

    The defaults are those of the published encoders; `depths` (3, 4, 23, 3) is the ResNet-101 of the same
    code.
    """

    img_resolution: int = 256
    img_channels: int = 3
    width: int = 64  # channels of the stem; stages have 4, 8, 16 and 32 times as many
    depths: tuple[int, ...] = (3, 4, 6, 3)
    pyramid: int = 512
    style_widths: tuple[int, ...] = (1024,) * 8 + (512,) * 2 + (256,) * 2 + (128,) * 2

    def __post_init__(self) -> None:
        check_resolution(self.img_resolution)
        check_layers(len(self.style_widths))
        check_layers(sum(self.depths))
        check_widths(img_channels=self.img_channels, width=self.width, pyramid=self.pyramid)
        check_widths(**{f"style{i}": width for i, width in enumerate(self.style_widths)})
        if self.img_resolution < 64 or len(self.depths) != 4 or min(self.depths) < 1:
            raise ValueError("pictures of at least 64 pixels, and four stages of at least one block")
        if len(self.style_widths) <= 2 * SHARE or any(self.row % width for width in self.style_widths):
            raise ValueError(f"more than {2 * SHARE} layers, whose styles divide the longest of them")

    @property
    def row(self) -> int:
        """The length of a row of features."""
        return max(self.style_widths)

    @property
    def channels(self) -> tuple[int, ...]:
        """Out of the stages: res2 to res5."""
        return tuple(4 * self.width << i for i in range(4))


def padded(x: Tensor, kernel: int, stride: int, filling: float = 0.0) -> Tensor:
    """(N, C, H, W) with the padding of TensorFlow's SAME, whose larger half is right and below."""
    pads = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    (top, bottom), (left, right) = ((pad // 2, pad - pad // 2) for pad in pads)
    return F.pad(x, (left, right, top, bottom), value=filling)


class Conv(nn.Conv2d):
    """Convolution with the padding of TensorFlow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/stride, W/stride), rounded up."""
        return super().forward(padded(x, self.kernel_size[0], self.stride[0]))


class Bottleneck(nn.Module):
    """Three convolutions, a quarter as wide in between, beside a shortcut, which has one where the shape
    changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        hidden = outputs // 4
        self.conv0, self.norm0 = Conv(inputs, hidden, 1), FrozenBatchNorm(hidden)
        self.conv1, self.norm1 = Conv(hidden, hidden, 3, stride), FrozenBatchNorm(hidden)
        self.conv2, self.norm2 = Conv(hidden, outputs, 1), FrozenBatchNorm(outputs)
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride > 1:
            conv = Conv(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, FrozenBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/stride, W/stride), rounded up."""
        y = F.relu(self.norm0(self.conv0(x)))
        y = F.relu(self.norm1(self.conv1(y)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Head(nn.Module):
    """A map to the styles of some layers."""

    def __init__(self, inputs: int, widths: Sequence[int], row: int) -> None:
        super().__init__()
        self.widths, self.row = list(widths), row
        self.fc, self.norm = nn.Linear(inputs, sum(widths)), FrozenBatchNorm(sum(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, layers, row)."""
        styles = self.norm(self.fc(x.flatten(1))).split(self.widths, dim=1)
        return torch.stack([style.repeat(1, self.row // style.shape[1]) for style in styles], dim=1)


class Encoder(nn.Module):
    """Picture -> GH-Feat."""

    def __init__(self, config: GHFeatEncoderConfig) -> None:
        super().__init__()
        self.config, self.img_resolution = config, config.img_resolution
        self.img_channels = config.img_channels
        self.stem = Conv(config.img_channels, config.width, 7, 2, bias=False)
        self.norm = FrozenBatchNorm(config.width)
        self.stages = Stages(Bottleneck, config.width, config.channels, config.depths, (1, 2, 2, 2))
        self.res6 = Bottleneck(config.channels[-1], config.channels[-1], 2)
        depths = (*config.channels[2:], config.channels[-1])  # of res4, res5, res6
        self.laterals = nn.ModuleList(Conv(C, config.pyramid, 3) for C in depths)
        self.outputs = nn.ModuleList(Conv(config.pyramid, config.pyramid, 3) for _ in depths)
        self.fusions = nn.ModuleList(Conv(config.pyramid, config.pyramid, 3) for _ in depths)
        places, widths = (config.img_resolution // 64) ** 2, config.style_widths
        shares = (widths[2 * SHARE :], widths[SHARE : 2 * SHARE], widths[:SHARE])
        self.heads = nn.ModuleList(Head(config.pyramid * places, share, config.row) for share in shares)

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, img_channels, R, R) in [-1, 1] -> (N, L, row); `styles_of` reads it."""
        shape = (self.config.img_channels, self.img_resolution, self.img_resolution)
        if images.shape[1:] != shape:
            raise ValueError(f"images must be (N, {', '.join(map(str, shape))}), got {tuple(images.shape)}")
        x = F.leaky_relu(self.norm(self.stem(images)), 0.2)
        *_, res4, res5 = self.stages(F.max_pool2d(padded(x, 3, 2, -torch.inf), 3, 2))
        maps = self._fused(self._pyramid([res4, res5, self.res6(res5)]))
        rows = [head(x) for head, x in zip(self.heads, maps, strict=True)]
        return torch.cat(rows[::-1], dim=1)

    def _pyramid(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Every map with the deeper ones on it. (N, C, H/2^i, W/2^i) -> (N, pyramid, H/2^i, W/2^i)."""
        maps = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in range(LEVELS - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + F.interpolate(maps[i], scale_factor=2.0)
        return [conv(x) for conv, x in zip(self.outputs, maps, strict=True)]

    def _fused(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """All maps at the size of the deepest, which is added to the others."""
        small = [F.avg_pool2d(x, 2 ** (LEVELS - 1 - i)) for i, x in enumerate(maps)]
        *others, deepest = (conv(x) for conv, x in zip(self.fusions, small, strict=True))
        return [*(x + deepest for x in others), deepest]


def styles_of(features: Tensor, style_widths: Sequence[int]) -> list[Tensor]:
    """GH-Feat (N, L, row) to the style (N, width) of each layer, by (scale, shift): x (scale + 1) + shift.

    They take the place of what the affine layers of a StyleGAN make of w.
    """
    return [features[:, i, :width] for i, width in enumerate(style_widths)]
