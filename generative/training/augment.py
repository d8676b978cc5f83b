"""Adaptive discriminator augmentation, from "Training Generative Adversarial Networks with Limited Data"
(Karras et al., 2020): transforms that real and false pictures undergo alike, each with probability p, and a
controller for p.

While p stays below about 0.8 the untransformed picture remains the most likely one, so the generator is not
taught the transforms (section 2.2 of the paper). A modest set: shift, scale, rotation; brightness, contrast,
saturation, hue. Mirroring is left out, for gaze and light know left from right together.

Axis letters: N batch, C channels, H W pixels.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_PROBABILITY = 0.8  # above it, transforms leak into the generated pictures


@dataclass
class AdaptiveStrength:
    """The probability p, moved so that the discriminator is right about real pictures `target` more than not.

    `ramp` is the number of images in which p could go from 0 to 1. A target of None keeps p at 0.
    """

    target: float | None = 0.6
    ramp: int = 100_000
    probability: float = 0.0
    signs: float = 0.0  # sum of mean signs since p last moved
    batches: int = 0
    images: int = 0

    def observe(self, real_logits: Tensor) -> None:
        """Take note of the discriminator's (N, ...) logits on real, transformed pictures."""
        self.signs += real_logits.detach().sign().float().mean().item()
        self.batches += 1
        self.images += real_logits.shape[0]

    def adjust(self) -> float:
        """Move p by what was noted, and forget it. Returns the mean sign."""
        sign = self.signs / max(self.batches, 1)
        if self.target is not None and self.batches:
            step = math.copysign(self.images / self.ramp, sign - self.target)
            self.probability = min(max(self.probability + step, 0.0), MAX_PROBABILITY)
        self.signs, self.batches, self.images = 0.0, 0, 0
        return sign


def augment(images: Tensor, probability: float, rng: torch.Generator) -> Tensor:
    """(N, C, H, W) -> the same shape: each picture on its own, each transform with `probability`.

    `rng` is a CPU generator, whatever the device of `images`: a few numbers for each picture.
    """
    if probability == 0:
        return images
    images = _move(images, _geometry(len(images), probability, rng))
    return _recolor(images, _color(len(images), probability, rng))


def _maybe(values: Tensor, neutral: float, probability: float, rng: torch.Generator) -> Tensor:
    """(N,) values, where chance says so, else the neutral one."""
    chosen = torch.rand(len(values), generator=rng) < probability
    return torch.where(chosen, values, neutral)


def _geometry(N: int, p: float, rng: torch.Generator) -> Tensor:
    """Inverse affine maps (N, 2, 3) in the normalised coordinates of `F.affine_grid`."""
    scale = _maybe(torch.exp2(torch.randn(N, generator=rng) * 0.1), 1.0, p, rng)
    angle = _maybe(torch.randn(N, generator=rng) * 0.1, 0.0, p, rng)
    dx = _maybe(torch.randn(N, generator=rng) * 0.125, 0.0, p, rng)
    dy = _maybe(torch.randn(N, generator=rng) * 0.125, 0.0, p, rng)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    return torch.stack([cos, -sin, dx, sin, cos, dy], dim=1).reshape(N, 2, 3)


def _move(images: Tensor, maps: Tensor) -> Tensor:
    grid = F.affine_grid(maps.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _color(N: int, p: float, rng: torch.Generator) -> Tensor:
    """Affine maps of colour (N, 3, 4): brightness and contrast, hue and saturation around the grey axis."""
    contrast = _maybe(torch.exp2(torch.randn(N, generator=rng) * 0.3), 1.0, p, rng)
    brightness = _maybe(torch.randn(N, generator=rng) * 0.2, 0.0, p, rng)
    hue = _maybe((torch.rand(N, generator=rng) * 2 - 1) * math.pi / 2, 0.0, p, rng)
    saturation = _maybe(torch.exp2(torch.randn(N, generator=rng) * 0.5), 1.0, p, rng)
    grey = torch.full((3, 3), 1 / 3)  # projection onto the grey axis
    turn = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    chroma = torch.eye(3) - grey
    rotated = hue.cos()[:, None, None] * chroma + hue.sin()[:, None, None] * turn
    matrix = (grey + saturation[:, None, None] * rotated) * contrast[:, None, None]
    offset = brightness[:, None, None].expand(-1, 3, 1)
    return torch.cat([matrix, offset], dim=2)


def _recolor(images: Tensor, maps: Tensor) -> Tensor:
    maps = maps.to(images)
    return torch.einsum("nij,njhw->nihw", maps[:, :, :3], images) + maps[:, :, 3, None, None]
