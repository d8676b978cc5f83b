"""How far the factors of samples are from those of a reference, one factor at a time.

A world that knows its factors, and a network that reads them from pictures, turn "are the samples diverse and
in the right proportions" into numbers with names. Samples and reference are read by the same network, so that
its errors are in both.

* continuous: Wasserstein-1 distance of the two distributions, in standard deviations of the reference: the
  mean way that a sample's value must move to make the distributions equal;
* binary and categorical: total variation, half the summed differences of the frequencies, in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

FactorKind = Literal["continuous", "binary", "categorical"]


@dataclass(frozen=True)
class FactorDistance:
    """One factor. `reference` and `samples`: mean of a continuous one, else the share of each class."""

    name: str
    kind: FactorKind
    distance: float
    reference: tuple[float, ...]
    samples: tuple[float, ...]


def factor_distances(
    reference: Mapping[str, Tensor], samples: Mapping[str, Tensor], kinds: Mapping[str, FactorKind]
) -> list[FactorDistance]:
    """Readings (N,) and (M,) by name -> one distance each, in the order of `kinds`.

    A binary reading is a probability, which counts as yes above one half; a categorical one is an index.
    Raises ValueError for a continuous factor that does not vary in the reference.
    """
    return [_distance(name, kind, reference[name], samples[name]) for name, kind in kinds.items()]


def wasserstein(a: Tensor, b: Tensor) -> float:
    """Wasserstein-1 distance of two samples (N,) and (M,): the area between their distribution functions."""
    a, b = a.double().sort().values, b.double().sort().values
    steps = torch.cat([a, b]).sort().values
    share_a = torch.searchsorted(a, steps[:-1], right=True) / len(a)
    share_b = torch.searchsorted(b, steps[:-1], right=True) / len(b)
    return ((share_a - share_b).abs().double() * steps.diff()).sum().item()


def shares(values: Tensor, classes: int) -> Tensor:
    """Indices (N,) -> the share of each class, (classes,)."""
    return torch.bincount(values.long(), minlength=classes).double() / len(values)


def _distance(name: str, kind: FactorKind, reference: Tensor, samples: Tensor) -> FactorDistance:
    if kind == "continuous":
        spread = reference.double().std(correction=0).item()
        if spread == 0:
            raise ValueError(f"{name} is the same in all pictures of the reference: its distance has no unit")
        distance = wasserstein(reference, samples) / spread
        means = (reference.double().mean().item(),), (samples.double().mean().item(),)
        return FactorDistance(name, kind, distance, *means)
    if kind == "binary":
        reference, samples = reference > 0.5, samples > 0.5
    classes = 2 if kind == "binary" else 1 + int(max(reference.max(), samples.max()))
    known, found = shares(reference, classes), shares(samples, classes)
    return FactorDistance(
        name, kind, (known - found).abs().sum().item() / 2, tuple(known.tolist()), tuple(found.tolist())
    )
