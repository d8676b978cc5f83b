"""Sine, decay, arctangent and display gamma from operations that IEEE 754 rounds exactly.

The library's own versions differ in the last bit between the vector unit, the scalar code that finishes an
array, and a GPU, so a portrait would depend on its place in a batch. Addition, multiplication, division and
square root do not, and these functions use nothing else. Polynomials are Taylor series or least-squares
fits; errors are stated, and tested.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sin(angle: Tensor) -> Tensor:
    """Sine of radians, to 2e-6 for angles within ±10, and 1e-5 within ±100."""
    turns = angle * (0.5 / math.pi)
    turns = turns - turns.round()
    fold = turns.abs()
    z = torch.minimum(fold, 0.5 - fold) * (2 * math.pi)
    s = z * z
    series = z * (1 + s * (-1 / 6 + s * (1 / 120 + s * (-1 / 5040 + s * (1 / 362880 - s * (1 / 39916800))))))
    return torch.copysign(series, turns)


def cos(angle: Tensor) -> Tensor:
    """Cosine of radians, as `sin`."""
    return sin(angle + 0.5 * math.pi)


def decay(t: Tensor) -> Tensor:
    """exp(-t) for t >= 0, to 2e-6; exp(-30) beyond 30."""
    y = t.clamp(max=30.0) * (1 / 16)
    p = 1 + y * (1 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120)))))
    for _ in range(4):
        p = p * p
    return 1 / p


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """Angle of (x, y) in radians in [-pi, pi], to 4e-6."""
    ax, ay = x.abs(), y.abs()
    a = torch.minimum(ax, ay) / torch.maximum(ax, ay).clamp(min=1e-12)
    s = a * a
    tail = 0.1935411 + s * (-0.11642827 + s * (0.05264924 - s * 0.01171985))
    octant = a * (0.99997722 + s * (-0.33262294 + s * tail))
    quadrant = torch.where(ay > ax, 0.5 * math.pi - octant, octant)
    return torch.copysign(torch.where(x < 0, math.pi - quadrant, quadrant), y)


def display(light: Tensor) -> Tensor:
    """light ** (1 / 2.2) for light clamped to [0, 1], to 3e-4: a thirteenth of a step of 8 bits."""
    s = light.clamp(0, 1).sqrt()
    q = s.sqrt()
    e = q.sqrt()
    fit = s * 1.15904744 + q * 0.06307977 - e * 0.00701485 + (s * s) * 0.09293086 - (s * q) * 0.30785534
    return fit.clamp(0, 1)
