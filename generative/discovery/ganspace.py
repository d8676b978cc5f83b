"""Principal components of W or of activations: "GANSpace: Discovering Interpretable GAN Controls" (Härkönen,
Hertzmann, Lehtinen & Paris, 2020).

Agrees with `compute` of harskish/ganspace: an incremental PCA (Ross, Lim, Lin & Yang, "Incremental Learning
for Robust Visual Tracking", 2008) over batches of samples, and for activations a regression of latents on the
coordinates found. Its estimators that see all samples at once (`pca`, `fbpca`) are the exact PCA here; the
official code gives those a batch of zeros beside the samples, which is not repeated.

Axis letters: N samples, K components, D numbers of a flattened sample.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from generative.editing.direction import Direction
from generative.spaces import Space
from generative.statistics import fix_signs

SPREAD_SAMPLES = 5000  # on which the spread along latent directions is measured
REGRESSION_SAMPLES = 10_000
RANDOM_SEED = 2  # of the directions that components are compared with


@dataclass(frozen=True)
class Components:
    """Principal axes. All float64."""

    mean: Tensor  # (D,)
    axes: Tensor  # (K, D), unit rows, the one of largest variance first, its largest entry positive
    stdev: Tensor  # (K,), of the samples along each
    share: Tensor  # (K,), of the total variance


def batch_size(batch: int, components: int) -> int:
    """How many samples the official code gives to one step of the incremental PCA."""
    return max(batch, 2000, 3 * components)


def incremental_pca(batches: Iterable[Tensor], count: int) -> Components:
    """The first `count` axes of samples that come as batches (N, D), the first of at least `count`.

    Only the axes found so far are kept between batches, so memory does not grow with them. Variances are
    divided by the number of samples less 1, as in scikit-learn's `IncrementalPCA`.

    Raises:
        ValueError: if there is no batch, or the first has fewer samples or numbers than `count`.
    """
    seen, mean, squares, kept = 0, torch.zeros(()), torch.zeros(()), None
    for batch in batches:
        samples = batch.double()
        added = len(samples)
        if kept is None and min(samples.shape) < count:
            raise ValueError(
                f"{count} components need as many samples in the first batch, and numbers in each"
            )
        shift = samples.mean(dim=0)
        centred = samples - shift
        # the two means differ: their difference counts as one more sample, and as variance
        between = (mean - shift) * (seen * added / (seen + added)) ** 0.5
        rows = centred if kept is None else torch.cat([kept, centred, between[None]])
        squares = squares + centred.square().sum(dim=0) + between.square()
        mean = (seen * mean + added * shift) / (seen + added)
        seen += added
        kept = _leading_rows(rows, count)
    if kept is None:
        raise ValueError("no samples")
    lengths = kept.norm(dim=1)
    axes = fix_signs(kept / lengths[:, None].clamp(min=torch.finfo(torch.float64).tiny))
    return Components(mean, axes, lengths / max(seen - 1, 1) ** 0.5, lengths.square() / squares.sum())


def _leading_rows(rows: Tensor, count: int) -> Tensor:
    """(M, D) -> (count, D): the leading right singular vectors, each as long as its singular value.

    Through the Gram matrix of the shorter side, which is much faster than a singular value decomposition and
    loses only components below 1e-8 of the first.
    """
    M, D = rows.shape
    if M >= D:
        values, vectors = torch.linalg.eigh(rows.T @ rows)  # columns, smallest first
        scale = values.clamp(min=0).sqrt()
        return (vectors * scale).T.flip(0)[:count]
    vectors = torch.linalg.eigh(rows @ rows.T).eigenvectors
    return vectors.T.flip(0)[:count] @ rows


def pca(samples: Tensor, count: int) -> Components:
    """The exact axes of samples (N, D). Variances are divided by N."""
    mean = samples.double().mean(dim=0)
    centred = samples.double() - mean
    kept = _leading_rows(centred, count)
    lengths = kept.norm(dim=1)
    axes = fix_signs(kept / lengths[:, None])
    total = centred.square().sum()
    return Components(mean, axes, lengths / len(samples) ** 0.5, lengths.square() / total)


def spread(samples: Tensor, axes: Tensor) -> Tensor:
    """(N, D), (K, D) -> (K,): standard deviation of samples along unit axes, divided by N."""
    return (samples.double() @ axes.T.to(samples.device)).std(dim=0, correction=0)


def random_axes(count: int, size: int) -> Tensor:
    """(count, size) unit vectors, those that the official code measures the spread along for comparison."""
    drawn = torch.from_numpy(np.random.RandomState(RANDOM_SEED).normal(size=(count, size)))
    return drawn / drawn.norm(dim=1, keepdim=True)


def latent_directions(found: Components, pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The latents that move activations along their components: least squares of latents on coordinates.

    Args:
        found: the components of the activations.
        pairs: batches of latents (N, dim) and of the activations that they make, (N, D).

    Returns:
        (K, dim) unit rows, and the mean latent (dim,). Float64.
    """
    coordinates, latents = [], []
    for z, activations in pairs:
        coordinates.append((activations.double() - found.mean) @ found.axes.T / found.stdev)
        latents.append(z.double())
    targets = torch.cat(latents)
    solved = torch.linalg.lstsq(torch.cat(coordinates), targets, driver="gelsd").solution
    return solved / solved.norm(dim=1, keepdim=True), targets.mean(dim=0)


def directions(found: Components, space: Space, stdev: Tensor, prefix: str = "ganspace_") -> list[Direction]:
    """Components of a latent space as named directions; a strength of 1 is one standard deviation."""
    return [
        Direction(
            name=f"{prefix}{i}",
            space=space,
            vector=axis.float(),
            unit="sigma",
            sigma=float(stdev[i]),
            method="ganspace",
            description=f"principal component {i}",
            provenance={"share_of_variance": float(found.share[i])},
        )
        for i, axis in enumerate(found.axes)
    ]
