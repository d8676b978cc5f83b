"""Low-pass filters of StyleGAN3: appendix C of "Alias-Free Generative Adversarial Networks" (Karras et al.,
2021), with Kaiser's window (1974).

Agrees with the filters in checkpoints of NVlabs/stylegan3 to rounding. Those are stored and win: a design
from scratch is for networks that are built from nothing. Axis letters: k filter taps.
"""

import math

import torch
from torch import Tensor


def lowpass_filter(taps: int, cutoff: float, width: float, rate: float, radial: bool = False) -> Tensor:
    """A filter that passes frequencies below `cutoff`, with sum 1.

    Args:
        taps: even.
        cutoff: where the amplitude has fallen to about a half.
        width: of the transition band around the cutoff.
        rate: samples by unit of length, in the same unit as the frequencies.
        radial: alike in all directions, instead of separable.

    Returns:
        (k,), the taps along each axis, or (k, k) for a radial filter; float32.
    """
    position = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
    window = kaiser_window(taps, width / (rate / 2))
    if radial:
        radius = torch.hypot(position[:, None], position[None])
        ideal = torch.special.bessel_j1(2 * math.pi * cutoff * radius) / (math.pi * radius)
        window = torch.outer(window, window)
    else:
        ideal = torch.sinc(2 * cutoff * position)
    weighted = ideal * window
    return (weighted / weighted.sum()).float()


def kaiser_window(taps: int, width: float) -> Tensor:
    """(k,), float64. `width`: of the transition band, as a part of half the sampling rate."""
    attenuation = 2.285 * (taps - 1) * math.pi * width + 7.95  # dB that so many taps reach
    return torch.kaiser_window(taps, periodic=False, beta=_kaiser_beta(attenuation), dtype=torch.float64)


def _kaiser_beta(attenuation: float) -> float:
    """Kaiser's fit of the shape parameter to the attenuation of the stop band, in dB."""
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0
