"""Perceptual path length, from "A Style-Based Generator Architecture for Generative Adversarial Networks"
(Karras et al., 2019): how much the picture changes, in units of a perceptual distance d, over a tiny step on
the way between two random latents:

    mean of d(G(at t), G(at t + eps)) / eps²,  eps = 1e-4

In W the way is a straight line between mapped latents, in Z the arc of a great circle. Full sampling takes t
from U(0, 1), end sampling t = 0 (at end points the latents are ones that really occur). As in the official
code, distances below the 1st and above the 99th percentile are left out of the mean. d must grow as the
square of a small change, as LPIPS does.
"""

from collections.abc import Callable

from torch import Tensor

EPSILON = 1e-4
Mapping = Callable[[Tensor], Tensor]  # z (N, z_dim) -> w (N, ...)
Paint = Callable[[Tensor], Tensor]  # w (N, ...) -> images (N, C, H, W) in [-1, 1]
Distance = Callable[[Tensor, Tensor], Tensor]  # two batches of images -> (N,)


def steps_in_w(
    a: Tensor, b: Tensor, t: Tensor, mapping: Mapping, epsilon: float = EPSILON
) -> tuple[Tensor, Tensor]:
    """Latents z (N, z_dim) of both ends and t (N,) -> w at t and at t + epsilon."""
    start, end = mapping(a), mapping(b)
    way = end - start
    at = start + t.reshape(-1, *[1] * (way.ndim - 1)) * way
    return at, at + epsilon * way


def steps_in_z(
    a: Tensor, b: Tensor, t: Tensor, mapping: Mapping, epsilon: float = EPSILON
) -> tuple[Tensor, Tensor]:
    """As `steps_in_w`, along the arc between a and b brought to unit length; mapped after the step."""
    a, b = (x.double() for x in (a, b))
    a, b = a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)
    cosine = (a * b).sum(dim=1, keepdim=True)
    angle = cosine.clamp(-1, 1).acos()
    aside = b - cosine * a
    aside = aside / aside.norm(dim=1, keepdim=True).clamp(min=1e-12)

    def at(t: Tensor) -> Tensor:
        turn = angle * t[:, None]
        return mapping((turn.cos() * a + turn.sin() * aside).float())

    return at(t.double()), at(t.double() + epsilon)


def step_lengths(
    ends: tuple[Tensor, Tensor], paint: Paint, distance: Distance, epsilon: float = EPSILON
) -> Tensor:
    """What `steps_in_w` or `steps_in_z` gave -> (N,): d / epsilon²."""
    here, there = ends
    return distance(paint(here), paint(there)) / epsilon**2


def trimmed_mean(lengths: Tensor, share: float = 0.01) -> float:
    """Mean of (N,) without the values beyond the percentiles `share` and 1 - `share`."""
    x = lengths.double()
    low = x.quantile(share, interpolation="lower")
    high = x.quantile(1 - share, interpolation="higher")
    return x[(x >= low) & (x <= high)].mean().item()
