"""Stages of a residual network: blocks numbered through, of which the first of each stage changes the size.

Axis letters: N batch, I channels in, C channels, H W pixels.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Stages(nn.ModuleList):
    """Features to one map for each stage."""

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        inputs: int,
        channels: Sequence[int],
        depths: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        """
        Args:
            block: makes one from its channels in, its channels out, and its stride.
            channels, depths, strides: of each stage, channels out, number of blocks, and stride of the first.
        """
        super().__init__()
        for outputs, depth, stride in zip(channels, depths, strides, strict=True):
            self.append(block(inputs, outputs, stride))
            self.extend(block(outputs, outputs, 1) for _ in range(depth - 1))
            inputs = outputs
        self.ends = {sum(depths[: i + 1]) - 1 for i in range(len(depths))}

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, I, H, W) -> (N, C, H', W') after each stage."""
        maps = []
        for i, block in enumerate(self):
            x = block(x)
            if i in self.ends:
                maps.append(x)
        return maps
