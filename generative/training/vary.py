"""Small flaws that a network which looks at pictures should not stumble over: a generator's edges are not a
renderer's, and files are compressed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def vary(images: Tensor, rng: torch.Generator) -> Tensor:
    """Half of the pictures (N, 3, H, W), softened by up to 3 x 3 pixels, tinted by up to 0.1, and noisy."""

    def amount(n: int = 1) -> Tensor:
        return torch.rand(len(images), n, 1, 1, generator=rng)

    chosen = (amount() < 0.5).float()
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    out = images.lerp(blurred, chosen * amount())
    out = out + chosen * 0.2 * (amount(3) - 0.5)
    return out + chosen * 0.08 * amount() * torch.randn(images.shape, generator=rng)
