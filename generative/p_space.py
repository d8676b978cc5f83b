"""The P spaces of "Improved StyleGAN Embedding: Where are the Good Latents?" (Zhu et al., 2020).

The mapping network ends in a leaky ReLU of slope 0.2. P is what goes into it: w through the inverse, a leaky
ReLU of slope 5. There W is close to normally distributed, so its principal axes scaled to unit variance, P_N,
tell how usual a latent is: the mean square of its coordinates is 1 on average. Every function acts on the
last axis, so that P+ and P_N+, with a latent for each layer, are the same functions.

Agrees with ZPdesu/II2S, whose files hold `X_mean`, `X_comp` and `X_stdev`. Axis letters: D is w_dim.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from generative.statistics import w_statistics

SLOPE = 0.2  # of the last leaky ReLU of the mapping network
SMALLEST = 1e-6  # of the largest deviation: axes without any spread are not blown up


@dataclass(frozen=True)
class PStatistics:
    """Principal axes of P."""

    mean: Tensor  # (D,)
    components: Tensor  # (D, D), rows are unit vectors, the one of largest variance first
    stdev: Tensor  # (D,), along each component

    def to(self, like: Tensor) -> "PStatistics":
        return PStatistics(self.mean.to(like), self.components.to(like), self.stdev.to(like))


def to_p(w: Tensor) -> Tensor:
    """(..., D) -> (..., D)."""
    return F.leaky_relu(w, 1 / SLOPE)


def from_p(p: Tensor) -> Tensor:
    """The inverse of `to_p`."""
    return F.leaky_relu(p, SLOPE)


def p_statistics(w: Tensor) -> PStatistics:
    """From samples w, (N, D). Float32, computed in float64."""
    found = w_statistics(to_p(w.double()))
    stdev = found.variances.sqrt()
    return PStatistics(found.mean, found.components, stdev.clamp(min=SMALLEST * float(stdev.max())))


def to_pn(w: Tensor, statistics: PStatistics) -> Tensor:
    """w (..., D) -> whitened coordinates (..., D)."""
    return (to_p(w) - statistics.mean) @ statistics.components.T / statistics.stdev


def from_pn(pn: Tensor, statistics: PStatistics) -> Tensor:
    """The inverse of `to_pn`."""
    return from_p((pn * statistics.stdev) @ statistics.components + statistics.mean)


def p_norm(pn: Tensor) -> Tensor:
    """How unusual latents are: the mean square of whitened coordinates, (N, ...) -> (N,)."""
    return pn.square().flatten(1).mean(dim=1)


def geocross(codes: Tensor) -> Tensor:
    """How far the codes of a picture's layers are apart on the sphere: (N, L, D) -> (N,).

    The mean over ordered pairs of layers of the squared great-circle distance, times D / 8: "PULSE" (Menon et
    al., 2020), whose code this agrees with.
    """
    x, y = codes[:, None], codes[:, :, None]
    chord = ((x - y).square().sum(dim=-1) + 1e-9).sqrt()
    sum_length = ((x + y).square().sum(dim=-1) + 1e-9).sqrt()
    return (2 * torch.atan2(chord, sum_length)).square().mean(dim=(1, 2)) * (codes.shape[-1] / 8)
