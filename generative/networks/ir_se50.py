"""IR-SE50: the residual network of "ArcFace" (Deng et al., 2019) with squeeze and excitation (Hu et al.,
2018).

Parameter names and numbers are those of TreB1eN/InsightFace_Pytorch, which pixel2style2pixel,
encoder4editing, restyle-encoder and their identity losses share. "50" counts layers, not blocks: 3 + 4 + 14 +
3 blocks of two convolutions.

Axis letters: N batch, I channels in, O channels out, C channels, H W pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.networks.stages import Stages

CHANNELS, DEPTHS = (64, 128, 256, 512), (3, 4, 14, 3)  # of the stages, and how many blocks each has
REDUCTION = 16  # channels of a map to those of its squeezed description


class SqueezeExcitation(nn.Module):
    """Each channel times a number in (0, 1) that follows from the means of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        squeezed = F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * self.fc2(squeezed).sigmoid()


class Subsample(nn.Module):
    """Every `stride`-th pixel of every `stride`-th row."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H/stride, W/stride), rounded up."""
        return x[:, :, :: self.stride, :: self.stride]


class Bottleneck(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which has a convolution only where the channels change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = Subsample(stride)
        if inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(conv, FrozenBatchNorm(outputs))
        self.res_layer = nn.Sequential(
            FrozenBatchNorm(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            FrozenBatchNorm(outputs),
            SqueezeExcitation(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/stride, W/stride), rounded up."""
        return self.res_layer(x) + self.shortcut_layer(x)


class Trunk(nn.Module):
    """A picture to one map for each stage. The first block of every stage halves the size."""

    def __init__(self, img_channels: int, channels: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(img_channels, channels[0], 3, padding=1, bias=False),
            FrozenBatchNorm(channels[0]),
            nn.PReLU(channels[0]),
        )
        self.body = Stages(Bottleneck, channels[0], channels, depths, [2] * len(depths))

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (N, img_channels, H, W) -> the maps (N, C, H/2^i, W/2^i) after each stage i = 1, 2, ..."""
        maps: list[Tensor] = self.body(self.input_layer(images))
        return maps
