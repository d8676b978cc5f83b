"""A matrix product whose rows have the same bits in any company."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 4  # rows: with fewer, BLAS takes another way and another order of summation (MKL and torch 2.13)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`: (N, I), (O, I), (O,) -> (N, O)."""
    if torch.jit.is_tracing() or len(x) >= LEAST:  # a trace is for any N
        return F.linear(x, weight, bias)
    return F.linear(F.pad(x, (0, 0, 0, LEAST - len(x))), weight, bias)[: len(x)]
