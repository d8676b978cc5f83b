"""Randomness of a search that follows from (seed, moment) alone, so that runs can be stopped and resumed."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Source(Protocol):
    """A `numpy.random.Generator`, or what stands in for one."""

    def standard_normal(self, size: tuple[int, ...], dtype: Any) -> np.ndarray: ...


def philox(seed: int, moment: int) -> Source:
    """Randomness of one sample at one moment of its run (0: before the first step, t + 1: step t)."""
    return np.random.Generator(np.random.Philox(key=[seed, moment]))


def draw(sources: Sequence[Source], shape: Sequence[int]) -> Tensor:
    """Standard normal (N, *shape) float32, one source for each sample."""
    drawn = [source.standard_normal(tuple(shape), dtype=np.float32) for source in sources]
    return torch.from_numpy(np.stack(drawn))
