"""The running average of a generator's weights, which is what ships."""

import torch
from torch import nn


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, beta: float) -> None:
    """`beta` of the averaged parameters stays, the rest comes from `module`; buffers are copied."""
    for mean, weight in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(weight, 1 - beta)
    for copied, buffer in zip(average.buffers(), module.buffers(), strict=True):
        copied.copy_(buffer)
