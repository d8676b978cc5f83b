"""Schedules of searches, by the share t of steps taken: of the StyleGAN2 projector (Karras et al., 2020,
appendix D), and of PULSE (Menon et al., 2020).

t: (N,) float64 in [0, 1), steps taken over steps in all.
"""

import math

import torch
from torch import Tensor

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the run in which the learning rate rises and falls
JITTER, JITTER_UNTIL = 0.05, 0.75  # noise on w at the start, in deviations of w, and when it has died down


def learning_rate_ramp(t: Tensor, up: float = RAMP_UP, down: float = RAMP_DOWN) -> Tensor:
    """Share of the peak learning rate: a straight line from 0, then 1, then half a cosine down to 0."""
    falling = ((1 - t) / down).clamp(max=1)
    rising = (t / up).clamp(max=1)
    return (0.5 - 0.5 * (falling * math.pi).cos()) * rising


def jitter(t: Tensor, initial: Tensor | float = JITTER, until: float = JITTER_UNTIL) -> Tensor:
    """Scale of the noise that is added to w, in deviations of w: a parabola from `initial` down to 0."""
    return initial * (1 - t / until).clamp(min=0).square()


def cycle_and_drop(t: Tensor) -> Tensor:
    """Share of the peak learning rate in PULSE: from 0.1 up to 1 and down again in 90 % of the steps, then to
    0.001.
    """
    cycle = 0.1 + 0.9 * (1 - (2 * t / 0.9 - 1).abs())
    return torch.where(t < 0.9, cycle, 0.1 - 0.99 * (t - 0.9))
