"""Distances between pictures that follow what a network sees in them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from generative.networks.feature_network import FeatureNetwork


class PerceptualDistance(nn.Module):
    """LPIPS (Zhang et al., 2018) without learned weights, on the stages of a frozen feature network.

    Each feature vector is brought to unit length; squared differences are summed over channels, averaged over
    places, then over stages. So 0 for equal pictures, and at most 4.
    """

    def __init__(self, features: FeatureNetwork) -> None:
        super().__init__()
        self.features = features

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """a, b: (N, 3, H, W) in [-1, 1], H and W those of the network -> (N,)."""
        return self.compare(self.describe(a), self.describe(b))

    def describe(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> unit features (N, C, h, w) of each stage: compute those of a fixed target once."""
        return unit(self.features(images))

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """Two descriptions -> (N,)."""
        return between(a, b)


def unit(maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps (N, C, h, w) of any network, each feature vector at unit length."""
    # 1e-10 inside the root: the gradient of a norm is not defined where all channels are 0
    return [x * (x.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt() for x in maps]


def between(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Unit features of two sets of pictures -> (N,)."""
    stages = [(x - y).square().sum(dim=1).mean(dim=(1, 2)) for x, y in zip(a, b, strict=True)]
    return torch.stack(stages).mean(dim=0)
