"""ResNet-34 of "Deep Residual Learning for Image Recognition" (He et al., 2016), as the trunk of encoders.

Parameter names are those of restyle-encoder, which numbers torchvision's blocks through all stages, leaves
the first pooling out and has a PReLU in place of the first ReLU.

Axis letters: N batch, I channels in, O channels out, C channels, H W pixels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from generative.networks.frozen_batch_norm import FrozenBatchNorm
from generative.networks.stages import Stages

CHANNELS, DEPTHS = (64, 128, 256, 512), (3, 4, 6, 3)  # of the stages, and how many blocks each has


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which has one where the channels or the size change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = FrozenBatchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm(outputs)
        self.downsample = nn.Sequential()
        if stride > 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, FrozenBatchNorm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, I, H, W) -> (N, O, H/stride, W/stride), rounded up."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Trunk(nn.Module):
    """A picture to one map for each stage. The first convolution halves the size, and so do all stages but
    the first.
    """

    def __init__(self, img_channels: int, channels: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(img_channels, channels[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm(channels[0])
        self.relu = nn.PReLU(channels[0])
        self.body = Stages(BasicBlock, channels[0], channels, depths, [1, *[2] * (len(depths) - 1)])

    def forward(self, images: Tensor) -> list[Tensor]:
        """images: (N, img_channels, H, W) -> the maps (N, C, H/2^i, W/2^i) after each stage i = 1, 2, ..."""
        maps: list[Tensor] = self.body(self.relu(self.bn1(self.conv1(images))))
        return maps
