"""Which z belongs to which picture of the world: known factors as part of a standard normal z.

Each factor is made normal by its ranks (ties, as among people with glasses, broken by chance), the factors
are made uncorrelated, become the first coordinates of z, and z is turned by a random rotation. The other
coordinates are noise. So z has nearly the distribution that a generator is sampled with, and every kind of
portrait has its place in it.
"""

import torch
from torch import Tensor

from generative.training.dataset import Portraits


class Codes:
    """The z of the training pictures of a data set, for one size of z and one seed."""

    def __init__(self, portraits: Portraits, z_dim: int, seed: int = 0) -> None:
        rng = torch.Generator().manual_seed(seed)
        self.first = portraits.held_out
        rows = torch.arange(self.first, self.first + len(portraits))
        self.codes = normal_codes(portraits.factors(rows), rng)  # (N, F)
        if self.codes.shape[1] > z_dim:
            raise ValueError(f"z has {z_dim} coordinates, too few for {self.codes.shape[1]} factors")
        self.turn = rotation(z_dim, rng)

    def draw(self, rows: Tensor, rng: torch.Generator) -> Tensor:
        """Row numbers (n,) of training pictures -> z (n, z_dim), with fresh noise."""
        codes = self.codes[rows - self.first]
        noise = torch.randn(len(rows), len(self.turn) - codes.shape[1], generator=rng)
        return torch.cat([codes, noise], dim=1) @ self.turn


def normal_codes(factors: Tensor, rng: torch.Generator) -> Tensor:
    """Factors (N, F) as uncorrelated normal coordinates (N, F): ranks, then whitening."""
    N, F = factors.shape
    codes = torch.empty(N, F)
    for i in range(F):
        shuffled = torch.randperm(N, generator=rng)
        order = shuffled[factors[shuffled, i].argsort(stable=True)]
        codes[order, i] = torch.special.ndtri((torch.arange(N) + 0.5) / N)
    values, vectors = torch.linalg.eigh(torch.cov(codes.T))
    return codes @ (vectors * values.rsqrt()) @ vectors.T


def rotation(dim: int, rng: torch.Generator) -> Tensor:
    """A random orthogonal matrix (dim, dim), so that no coordinate of z is a factor of its own."""
    return torch.linalg.qr(torch.randn(dim, dim, generator=rng)).Q
