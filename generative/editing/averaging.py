"""The mean of several latents: what faces have in common ("Image2StyleGAN", Abdal, Qin & Wonka, 2019, morphs
two; the mean of many is the same in W, where straight lines stay among likely pictures).
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def average(
    latents: Tensor,
    others: Tensor,
    chosen: Tensor,
    weights: Sequence[float] | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Each latent's way to the weighted mean of itself, of weight 1, and all others.

    Args:
        latents: (N, ...).
        others: (M, ...).
        chosen: bool, as in `mix`.
        weights: M of them, all 1 without.
        strength: how far on the way.
    """
    scale = torch.ones(len(others)) if weights is None else torch.tensor(weights)
    scale = scale.to(others).reshape(-1, *[1] * (others.ndim - 1))
    mean = (latents + (scale * others).sum(dim=0)) / (1 + scale.sum())
    return torch.where(chosen, torch.lerp(latents, mean, strength), latents)
