"""Schedules of the StyleGAN2 projector (Karras et al., 2020, appendix D), by the share t of steps taken.

t: (N,) float64 in [0, 1), steps taken over steps in all.
"""

import math

from torch import Tensor

RAMP_UP, RAMP_DOWN = 0.05, 0.25  # shares of the run in which the learning rate rises and falls
JITTER, JITTER_UNTIL = 0.05, 0.75  # noise on w at the start, in deviations of w, and when it has died down


def learning_rate_ramp(t: Tensor, up: float = RAMP_UP, down: float = RAMP_DOWN) -> Tensor:
    """Share of the peak learning rate: a straight line from 0, then 1, then half a cosine down to 0."""
    falling = ((1 - t) / down).clamp(max=1)
    rising = (t / up).clamp(max=1)
    return (0.5 - 0.5 * (falling * math.pi).cos()) * rising


def jitter(t: Tensor, initial: float = JITTER, until: float = JITTER_UNTIL) -> Tensor:
    """Scale of the noise that is added to w, in deviations of w: a parabola from `initial` down to 0."""
    return initial * (1 - t / until).clamp(min=0).square()
