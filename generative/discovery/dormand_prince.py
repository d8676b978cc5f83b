"""Ordinary differential equations by the Runge-Kutta pair of Dormand and Prince, "A family of embedded
Runge-Kutta formulae" (1980), of orders 5 and 4: known as `dopri5` or RK45.

Every row of a batch has a clock and a step of its own, so that its solution does not depend on the others.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Slope = Callable[[Tensor, Tensor], Tensor]  # times (N,), states (N, D) -> (N, D)

TOLERANCE = 1e-5  # relative and absolute, for the error of one step
MAX_STEPS = 1000
_FIRST = 0.05  # of the way, the first step that is tried
_SAFETY, _SMALLEST, _LARGEST = 0.9, 0.2, 10.0  # how a step follows from the error of the last

_TIMES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
_ERROR = tuple(a - b for a, b in zip((*_STAGES[6], 0.0), _FOURTH, strict=True))


def integrate(f: Slope, x: Tensor, start: float, end: float, tolerance: float = TOLERANCE) -> Tensor:
    """The state at `end` of dx/dt = f(t, x), from x (N, D) at `start`; `end` may be earlier.

    Raises:
        ValueError: if the steps become too many.
    """
    t = x.new_full((len(x),), start)
    step = torch.full_like(t, _FIRST * (end - start))
    slope = f(t, x)
    for _ in range(MAX_STEPS):
        left = end - t
        if not bool(left.any()):
            return x
        last = step.abs() >= left.abs()
        step = torch.where(last, left, step)
        moved, next_slope, error = _step(f, t, x, step, slope)
        scale = tolerance * (1 + torch.maximum(x.abs(), moved.abs()))
        ratio = (error / scale).square().mean(dim=1).sqrt()
        accepted = ratio <= 1
        x = torch.where(accepted[:, None], moved, x)
        slope = torch.where(accepted[:, None], next_slope, slope)
        t = torch.where(accepted, torch.where(last, torch.full_like(t, end), t + step), t)
        factor = _SAFETY * ratio.clamp(min=1e-12) ** -0.2
        # where a row is not finite its step is tried again, smaller
        step = step * torch.nan_to_num(factor, nan=0.0, posinf=_LARGEST).clamp(_SMALLEST, _LARGEST)
    raise ValueError(f"an equation that is not solved in {MAX_STEPS} steps")


def integrate_evenly(f: Slope, x: Tensor, start: float, end: float, steps: int) -> Tensor:
    """The same by steps of one length, which are known before: of order 5, its error is not looked at."""
    size = x.new_full((len(x),), (end - start) / steps)
    slope = f(torch.full_like(size, start), x)
    for i in range(steps):
        x, slope, _ = _step(f, start + i * size, x, size, slope)
    return x


def _step(f: Slope, t: Tensor, x: Tensor, step: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of each row: the state after it, the slope there, and how far the two orders are apart."""
    slopes = [slope]
    state = x
    for time, weights in zip(_TIMES[1:], _STAGES[1:], strict=True):
        state = x + step[:, None] * _weighted(slopes, weights)
        slopes.append(f(t + time * step, state))
    return state, slopes[-1], step[:, None] * _weighted(slopes, _ERROR)


def _weighted(slopes: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    return torch.stack([k * w for k, w in zip(slopes, weights, strict=True)]).sum(dim=0)
