"""What generator and discriminator minimise. All functions return scalars unless said otherwise.

Non-saturating logistic loss (Goodfellow et al., 2014), hinge loss (Lim & Ye, 2017), R1 (Mescheder et al.,
2018), style mixing and path length regularisation (Karras et al., 2019 and 2020).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["hinge", "logistic"]


def discriminator_loss(fake: Tensor, real: Tensor, kind: Kind) -> Tensor:
    """Logits of false and real pictures, any shape."""
    if kind == "hinge":
        return F.relu(1 + fake).mean() + F.relu(1 - real).mean()
    return F.softplus(fake).mean() + F.softplus(-real).mean()


def generator_loss(fake: Tensor, kind: Kind) -> Tensor:
    """Logits of false pictures, any shape."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Half the mean squared norm of the gradient of `logits` (N, ...) at `images` (N, C, H, W)."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean() / 2


def path_lengths(images: Tensor, ws: Tensor, rng: torch.Generator) -> Tensor:
    """How far `images` (N, C, H, W) move with `ws` (N, L, w_dim), along random pictures: (N,)."""
    scale = 1 / math.sqrt(images.shape[2] * images.shape[3])
    y = torch.randn(images.shape, generator=rng, device=images.device) * scale
    (gradient,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def mix(w: Tensor, other: Tensor, num_ws: int, probability: float, rng: torch.Generator) -> Tensor:
    """W to W+ with style mixing: some samples take `other` from a random layer on.

    w, other: (N, w_dim) -> (N, num_ws, w_dim). `rng` is a CPU generator.
    """
    N = w.shape[0]
    crossover = torch.randint(1, num_ws, (N, 1), generator=rng)
    mixed = torch.rand(N, 1, generator=rng) < probability
    crossover = torch.where(mixed, crossover, num_ws)
    first = torch.arange(num_ws) < crossover  # (N, num_ws)
    return torch.where(first[:, :, None].to(w.device), w[:, None], other[:, None])
