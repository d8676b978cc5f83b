"""How like its target a picture is, as the programs of inversion measure it.

Axis letters: N samples, C H W of a picture.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from generative.batch import Tensors

COUNTS = ("steps", "seed", "schedule")


@runtime_checkable
class Perceptual(Protocol):
    """A distance between pictures in [-1, 1] that can describe a fixed target once."""

    def describe(self, images: Tensor) -> Sequence[Tensor]: ...

    def compare(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor: ...


def columns(options: Any, N: int) -> dict[str, Tensor]:
    """The fields of a dataclass of numbers as (N,) tensors; None is -1."""
    fields = {name: -1.0 if value is None else value for name, value in asdict(options).items()}
    dtypes = {name: torch.int64 if name in COUNTS else torch.float64 for name in fields}
    return {name: torch.full((N,), value, dtype=dtypes[name]) for name, value in fields.items()}


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """(N, C, H, W) twice -> (N,)."""
    return (a - b).square().mean(dim=(1, 2, 3))


def described(distance: Perceptual | None, targets: Tensor, name: str = "stage") -> dict[str, Tensor]:
    """What `perceptual` needs to know of the targets (N, C, H, W), as constants of a program."""
    stages = () if distance is None else distance.describe(targets)
    return {f"{name}{k}": stage for k, stage in enumerate(stages)}


def perceptual(
    distance: Perceptual | None, images: Tensor, constants: Tensors, name: str = "stage"
) -> Tensor:
    """(N, C, H, W) -> (N,), the distance to what was `described`; 0 without a distance."""
    if distance is None:
        return images.new_zeros(len(images))
    stages = distance.describe(images)
    return distance.compare(stages, [constants[f"{name}{k}"] for k in range(len(stages))])


def weighted(terms: Tensors, constants: Tensors) -> Tensor:
    """(N,): the terms times the constants of the same names, summed."""
    return torch.stack([constants[name].to(term.dtype) * term for name, term in terms.items()]).sum(dim=0)
