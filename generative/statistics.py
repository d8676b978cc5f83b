"""Where the latents of a generator lie: mean, spread and principal axes of W, from a fixed sample.

The sample is the one of the official projector (numpy seed 123, 10,000 latents), so `mean` and `total_std`
are its `w_avg` and `w_std`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generative.generator import StyleGenerator

SAMPLES, SEED = 10_000, 123
BATCH = 1000


@dataclass(frozen=True)
class WStatistics:
    """Moments of W. All float32."""

    mean: Tensor  # (w_dim,)
    std: Tensor  # (w_dim,), of each coordinate
    components: Tensor  # (w_dim, w_dim), rows are unit vectors, the one of largest variance first
    variances: Tensor  # (w_dim,), along each component

    @property
    def total_std(self) -> float:
        """Root of the mean squared distance from the mean: what the projector scales its noise by."""
        return float(self.variances.sum().sqrt())

    def sigma_along(self, direction: Tensor) -> float:
        """Standard deviation of W along a vector (w_dim,), times the vector's length."""
        return float((self.variances * (self.components @ direction).square()).sum().sqrt())


@torch.no_grad()
def sample_w(
    generator: StyleGenerator, count: int = SAMPLES, seed: int = SEED, label: int | None = None
) -> Tensor:
    """(count, w_dim). A conditional generator gets a random class with each latent, unless one is given.

    Of a family that maps to a w for every layer, all of them: (count * L, w_dim).
    """
    rng = np.random.RandomState(seed)
    z = torch.from_numpy(rng.randn(count, generator.z_dim).astype(np.float32))
    labels = None
    if generator.c_dim:
        drawn = rng.randint(generator.c_dim, size=count)
        classes = torch.from_numpy(drawn if label is None else np.full_like(drawn, label))
        labels = torch.nn.functional.one_hot(classes, generator.c_dim).float()
    device = generator.w_avg.device
    parts = []
    for start in range(0, count, BATCH):
        rows = slice(start, start + BATCH)
        parts.append(generator.map(z[rows].to(device), None if labels is None else labels[rows].to(device)))
    return torch.cat(parts).flatten(0, -2).cpu()


def w_statistics(w: Tensor) -> WStatistics:
    """From samples w, (N, w_dim). Variances are divided by N. Signs: the largest entry of a component is
    positive.
    """
    samples = w.double()
    mean = samples.mean(dim=0)
    centred = samples - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(samples))  # columns, smallest first
    components = fix_signs(vectors.flip(1).T)
    variances = values.flip(0).clamp(min=0)
    std = centred.square().mean(dim=0).sqrt()
    return WStatistics(mean.float(), std.float(), components.float(), variances.float())


def fix_signs(rows: Tensor) -> Tensor:
    """Rows (K, dim), each with its largest entry made positive: eigenvectors have no sign."""
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    return rows * torch.where(largest < 0, -1.0, 1.0).to(rows.dtype)
