"""Does a person stay the same person while something else about the picture changes?

Face recognition answers that for photographs. Where the factors of a picture can be read, they answer it by
name. For a change that makes picture `after` out of picture `before`, and one identity factor f:

    drift(f) = E |f(after) - f(before)| / E |f(one) - f(another)|

where the denominator is over strangers, two different pictures of `before`; for binary and categorical
factors |x - y| is 1 if the classes differ. So drift is 0 if the factor stays put, and 1 if the change makes a
stranger of the person. Consistency is 1 minus the mean drift of the identity factors.

The network that reads the factors errs, and its errors may depend on pose or light: the same change made to
renders, where the truth is known to stay, gives the floor.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.metrics.factor_distance import FactorKind

#: factors of the portraits world that make up who somebody is, apart from what one can put on or do
IDENTITY = (
    "skin_tone",
    "hair_color",
    "hair_length",
    "curl",
    "age",
    "beard",
    "eye_size",
    "iris_color",
    "face_width",
    "jaw",
    "nose_size",
)


@dataclass(frozen=True)
class Identity:
    """How well identity was kept."""

    consistency: float
    drift: dict[str, float]


def identity(
    before: Mapping[str, Tensor],
    after: Mapping[str, Tensor],
    kinds: Mapping[str, FactorKind],
    among: Mapping[str, Tensor] | None = None,
) -> Identity:
    """Readings (N,) by name of the same N people before and after a change.

    `kinds` names the factors that count. A factor in which no two strangers differ is left out. Strangers are
    those `among` whom people are told apart, (M,) with M at least 2; without it, those of `before`.
    """
    among = before if among is None else among
    found = {name: _drift(before[name], after[name], among[name], kind) for name, kind in kinds.items()}
    drift = {name: value for name, value in found.items() if value is not None}
    if not drift:
        raise ValueError("nobody differs from anybody in any of these factors")
    return Identity(1 - sum(drift.values()) / len(drift), drift)


def _drift(before: Tensor, after: Tensor, among: Tensor, kind: FactorKind) -> float | None:
    """before, after: (N,), among: (M,)."""
    if kind == "binary":
        before, after, among = before > 0.5, after > 0.5, among > 0.5
    strangers = _mean_difference(among.double(), kind)
    if strangers == 0:
        return None
    moved = (after.double() - before.double()).abs()
    return ((moved if kind == "continuous" else (moved > 0).double()).mean() / strangers).item()


def _mean_difference(x: Tensor, kind: FactorKind) -> float:
    """Mean of |x_i - x_j|, or of the chance that they differ, over all i != j. x: (N,)."""
    N = len(x)
    if kind == "continuous":  # in sorted order x_i is added i times and subtracted N - 1 - i times
        weights = 2 * torch.arange(N, dtype=torch.float64, device=x.device) - (N - 1)
        return (2 * (weights * x.sort().values).sum() / (N * (N - 1))).item()
    counts = x.unique(return_counts=True)[1].double()
    return (1 - (counts * (counts - 1)).sum() / (N * (N - 1))).item()
