"""Kernel distance between two sets of feature vectors, from "Demystifying MMD GANs" (Binkowski et al., 2018):
the squared maximum mean discrepancy of the kernel (x·y / D + 1)³, by its unbiased estimator, as mean and
standard deviation over random subsets.

Unlike the Fréchet distance it has no bias from few samples: equal distributions give 0 on average, so single
values may be negative. As with every metric here, its numbers belong to the features that were taken.
"""

import statistics
from collections.abc import Callable
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
    a: Tensor,
    b: Tensor,
    rng: torch.Generator,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    callback: Callable[[], None] = lambda: None,
) -> KernelDistance:
    """a: (N, D), b: (M, D), N and M at least 4. Subsets are drawn without repetition, and are at most half of
    the smaller set, or they would all be the same.

    `rng` is a CPU generator. The subsets of `a` and of `b` are independent. `callback` is called before each;
    raise from it to stop.
    """
    size = min(subset_size, len(a) // 2, len(b) // 2)
    if size < 2:
        raise ValueError("the kernel distance needs at least four vectors of each set")
    found = []
    for _ in range(subsets):
        callback()
        found.append(squared_mmd(_some(a, size, rng), _some(b, size, rng)).item())
    return KernelDistance(statistics.fmean(found), statistics.pstdev(found))


def squared_mmd(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased: pairs of a vector with itself do not count. a: (N, D), b: (M, D) -> scalar, float64.

    Kernels are computed in the numbers that come, and added up in float64.
    """
    between = _kernel(a, b).mean(dtype=torch.float64)
    return _mean_of_pairs(a) + _mean_of_pairs(b) - 2 * between


def _mean_of_pairs(x: Tensor) -> Tensor:
    """Mean kernel over all pairs of different rows of (N, D)."""
    kernel, N = _kernel(x, x), len(x)
    return (kernel.sum(dtype=torch.float64) - kernel.diagonal().sum(dtype=torch.float64)) / (N * (N - 1))


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M)."""
    return (a @ b.T / a.shape[1] + 1) ** 3


def _some(x: Tensor, size: int, rng: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=rng)[:size].to(x.device)]
