"""Latent spaces of style-based generators, and the ways to sample, truncate, mix and interpolate in them.

Truncation and mixing agree with NVlabs/stylegan2-ada-pytorch. Axis letters: N batch, L layers, which
is num_ws.
"""

import enum
from collections.abc import Sequence

import torch
from torch import Tensor


class Space(enum.StrEnum):
    """Where a latent lives."""

    Z = "z"  # (N, z_dim), standard normal
    W = "w"  # (N, w_dim), out of the mapping network
    W_PLUS = "w+"  # (N, L, w_dim), one w for each layer
    S = "s"  # (N, channels) for each layer, the scales of its input channels
    P = "p"  # (N, w_dim), W before its last leaky ReLU, whitened (`generative.p_space`)
    P_PLUS = "p+"  # (N, L, w_dim), one for each layer
    FEATURES = "features"  # W+, and a map of features in the place of what one layer makes


def broadcast(w: Tensor, num_ws: int) -> Tensor:
    """W to W+: (N, w_dim) -> (N, num_ws, w_dim), a view. What has a w for every layer stays as it is."""
    return w if w.ndim == 3 else w[:, None].expand(-1, num_ws, -1)


def truncate(ws: Tensor, w_avg: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Pull latents towards the mean: psi 0 is the mean, 1 changes nothing, above 1 exaggerates.

    Args:
        ws: (N, L, w_dim), or (N, w_dim) without cutoff.
        w_avg: (w_dim,), or (L, w_dim) where each layer has a mean of its own.
        cutoff: only the first `cutoff` layers; None for all.
    """
    if psi == 1:
        return ws
    if cutoff is None:
        return w_avg.lerp(ws, psi)
    first = w_avg[:cutoff] if w_avg.ndim == 2 else w_avg
    return torch.cat([first.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The straight way from a to b, which suits W. a, b: (...), t: (T,) in [0, 1] -> (T, ...)."""
    t = t.reshape(-1, *[1] * a.ndim)
    return a + t * (b - a)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The way over the sphere, which suits Z: angle and length both change evenly.

    a, b: (dim,), t: (T,) in [0, 1] -> (T, dim). Parallel vectors are joined by a straight line.
    """
    unit_a, unit_b = a / a.norm(), b / b.norm()
    angle = torch.arccos(torch.dot(unit_a, unit_b).clamp(-1, 1))
    if angle.sin() < 1e-4:
        return lerp(a, b, t)
    t = t[:, None]
    direction = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / angle.sin()
    return direction * (a.norm() + t * (b.norm() - a.norm()))


def mix_styles(rows: Tensor, columns: Tensor, layers: Sequence[int]) -> Tensor:
    """Every row latent with the given layers of every column latent.

    rows: (R, L, w_dim), columns: (C, L, w_dim) -> (R, C, L, w_dim).
    """
    mixed = rows[:, None].repeat(1, columns.shape[0], 1, 1)
    index = list(layers)
    mixed[:, :, index] = columns[None, :, index]
    return mixed
