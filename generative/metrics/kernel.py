"""Kernel distance between two sets of feature vectors, from "Demystifying MMD GANs" (Binkowski et al., 2018):
the squared maximum mean discrepancy of the kernel (x·y / D + 1)³, by its unbiased estimator, as mean and
standard deviation over random subsets.

Unlike the Fréchet distance it has no bias from few samples: equal distributions give 0 on average, so single
values may be negative. As with every metric here, its numbers belong to the features that were taken.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SUBSETS, SUBSET_SIZE = 100, 1000  # as the paper's code


@dataclass(frozen=True)
class KernelDistance:
    """Over the subsets."""

    mean: float
    std: float


def kernel_distance(
    a: Tensor, b: Tensor, rng: torch.Generator, subsets: int = SUBSETS, subset_size: int = SUBSET_SIZE
) -> KernelDistance:
    """a: (N, D), b: (M, D), N and M at least 2. A subset has at most N and M rows, drawn without repetition.

    `rng` is a CPU generator. The subsets of `a` and of `b` are independent.
    """
    size = min(subset_size, len(a), len(b))
    if size < 2:
        raise ValueError("the kernel distance needs at least two vectors of each set")
    found = torch.stack([squared_mmd(_some(a, size, rng), _some(b, size, rng)) for _ in range(subsets)])
    return KernelDistance(found.mean().item(), found.std(correction=0).item())


def squared_mmd(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased: pairs of a vector with itself do not count. a: (N, D), b: (M, D) -> scalar, float64."""
    a, b = a.double(), b.double()
    within_a, within_b, between = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    N, M = between.shape
    mean_a = (within_a.sum() - within_a.trace()) / (N * (N - 1))
    mean_b = (within_b.sum() - within_b.trace()) / (M * (M - 1))
    return mean_a + mean_b - 2 * between.mean()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def _some(x: Tensor, size: int, rng: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=rng)[:size].to(x.device)]
