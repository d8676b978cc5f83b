"""Fréchet distance between two sets of feature vectors, from "GANs Trained by a Two Time-Scale Update Rule"
(Heusel et al., 2017): the squared Wasserstein distance between the Gaussians that fit them.

With features of the shipped feature network it ranks samples of this project; its numbers are not comparable
to published FID numbers, which take the features of one particular Inception network.
"""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """a: (N, D), b: (M, D), N and M above 1 -> |mean difference|² + tr(A + B - 2 (A B)^½), in float64."""
    mean_a, cov_a = _moments(a)
    mean_b, cov_b = _moments(b)
    return frechet_distance_of_gaussians(mean_a, cov_a, mean_b, cov_b)


def frechet_distance_of_gaussians(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Means (D,) and covariances (D, D), float64."""
    # (A B)^½ and (A^½ B A^½)^½ have the same trace, and the second is symmetric
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return distance.item()


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.double()
    return x.mean(dim=0), torch.cov(x.T)
