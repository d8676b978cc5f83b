"""How much of the samples is real, and how much of the real is sampled, by nearest neighbours in features.

* Precision and recall: "Improved Precision and Recall Metric for Assessing Generative Models" (Kynkäänniemi
  et al., 2019). A set's manifold is a union of balls, one around each of its vectors, that reach to its k-th
  nearest neighbour. Precision is the share of samples inside the real manifold, recall the share of real
  vectors inside the manifold of the samples.
* Density and coverage: "Reliable Fidelity and Diversity Metrics for Generative Models" (Naeem et al., 2020).
  Density counts in how many real balls a sample lies, over k: it may exceed 1, and one outlier of the real
  set with a huge ball does little. Coverage is the share of real balls with a sample in them.

All four depend on k and on the sizes of the sets: compare only at equal sizes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3  # of the first paper; the second takes 5
ROOM = 2**24  # distances that are held at a time


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1], but density is only bounded below."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(
    real: Tensor, fake: Tensor, k: int = NEIGHBOURS, callback: Callable[[], None] = lambda: None
) -> PrecisionRecall:
    """real: (N, D), fake: (M, D), both with more than k rows. `callback` is called often; raise to stop."""
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} vectors in each set")
    centre = real.mean(dim=0)  # distances do not change, and small numbers keep more digits
    real, fake = real - centre, fake - centre
    real_reach, fake_reach = reaches(real, k, callback), reaches(fake, k, callback)
    inside = recalled = covered = 0
    balls = torch.zeros((), dtype=torch.float64, device=real.device)
    for rows, distances in _distances(real, fake, callback):
        within_real = distances <= real_reach[rows, None]
        recalled += int((distances <= fake_reach).any(dim=1).sum())
        covered += int(within_real.any(dim=1).sum())
        balls += within_real.sum()
    for _, distances in _distances(fake, real, callback):
        inside += int((distances <= real_reach).any(dim=1).sum())
    N, M = len(real), len(fake)
    return PrecisionRecall(inside / M, recalled / N, balls.item() / (k * M), covered / N)


def reaches(x: Tensor, k: int, callback: Callable[[], None] = lambda: None) -> Tensor:
    """(N, D) -> (N,): the distance of each vector to its k-th nearest among the others."""
    found = []
    for rows, distances in _distances(x, x, callback):
        own = torch.arange(rows.start, rows.start + len(distances), device=x.device)
        distances[torch.arange(len(distances), device=x.device), own] = torch.inf
        found.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(found)


def nearest(x: Tensor, among: Tensor, k: int) -> Tensor:
    """Rows of `among` (M, D) that are nearest to each row of x (N, D), nearest first: (N, k)."""
    parts = [d.topk(k, dim=1, largest=False).indices for _, d in _distances(x, among, lambda: None)]
    return torch.cat(parts)


def _distances(a: Tensor, b: Tensor, callback: Callable[[], None]) -> Iterator[tuple[slice, Tensor]]:
    """Euclidean, (some, M) at a time, with the rows of `a` that they belong to."""
    some = max(1, ROOM // len(b))
    for start in range(0, len(a), some):
        callback()
        rows = slice(start, start + some)
        yield rows, torch.cdist(a[rows], b)
