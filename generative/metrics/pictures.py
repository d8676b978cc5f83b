"""Sets of pictures that samples are compared with: renders of the portraits world, and those with noise."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from generative.pixels import to_uint8
from generative.worlds import portraits

NOISE = 0.05  # of the range of pixel values


class PictureSet(Protocol):
    """Pictures that can be had again, by number."""

    def __len__(self) -> int: ...

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """(n, H, W, 3) uint8."""


class Renders:
    """Portraits of people drawn from a seed; another `draw` of the same seed has other people."""

    def __init__(self, count: int, size: int, seed: int, draw: int = 0) -> None:
        self.size, self.seed = size, seed
        self.factors = portraits.sample(count, _rng(seed, draw))

    def __len__(self) -> int:
        return len(self.factors)

    def pictures(self, rows: Sequence[int]) -> Tensor:
        return rendered(self.factors[list(rows)], self.size)


def rendered(factors: Tensor, size: int) -> Tensor:
    """Factors (N, F) -> portraits (N, H, W, 3) uint8."""
    return to_uint8(portraits.render(factors, size).image)


def noisy(pictures: Tensor, rows: Sequence[int], seed: int) -> Tensor:
    """(n, H, W, 3) uint8 with Gaussian noise of 5 % of the range; that of a picture follows from its row."""
    noise = torch.stack([torch.randn(pictures.shape[1:], generator=_rng(seed, 1 + row)) for row in rows])
    return (pictures + NOISE * 255 * noise).round().clamp(0, 255).to(torch.uint8)


def _rng(*seed: int) -> torch.Generator:
    """A stream for these numbers that no other numbers share, by numpy's mixing."""
    [state] = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state))
