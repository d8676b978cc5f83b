"""Squares cut out of pictures so that faces lie where a generator expects them, and results put back.

The square of a face is that of the FFHQ data set ("A Style-Based Generator Architecture for Generative
Adversarial Networks", Karras et al., 2019, appendix A; Karras et al., 2018, appendix C): it turns with eyes
and mouth and grows with their distances. What lies beyond the border of a picture is mirrored; the data set
blurs the mirrored part too.

Points are complex numbers, x + iy, in pixels; x to the right, y down, the centre of the first pixel at
0.5 + 0.5i. So i times a direction is that direction turned from right to down.

Axis letters: C channels, H W pixels of the picture, S pixels of the square.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Of the 68 landmarks of the Multi-PIE annotation, as dlib and others find them; left is the viewer's left
LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS = slice(36, 42), slice(42, 48), [48, 54]


@dataclass(frozen=True)
class Frame:
    """A square: `axis` goes from its centre to the middle of its right side."""

    center: complex
    axis: complex

    @property
    def corners(self) -> tuple[complex, complex, complex, complex]:
        """Upper left, lower left, lower right, upper right."""
        x, y = self.axis, 1j * self.axis
        return self.center - x - y, self.center - x + y, self.center + x + y, self.center + x - y

    @property
    def side(self) -> float:
        """In pixels of the picture."""
        return 2 * abs(self.axis)

    def inside(self, outer: "Frame", size: int) -> "Frame":
        """This frame, of the square of `size` pixels that `outer` cuts, as one of the picture that is cut."""
        scale = outer.axis * 2 / size
        return Frame(outer.center + scale * (self.center - (1 + 1j) * size / 2), scale * self.axis)


def ffhq_frame(left_eye: complex, right_eye: complex, mouth: complex) -> Frame:
    """The square of a face. Left is the viewer's left."""
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, mouth - eyes
    direction = across - 1j * down
    if direction == 0:
        raise ValueError("eyes and mouth are in one place")
    side = max(abs(across) * 2.0, abs(down) * 1.8)
    return Frame(eyes + 0.1 * down, direction / abs(direction) * side)


def ffhq_frame_of_landmarks(landmarks: np.ndarray[Any, Any]) -> Frame:
    """The square of a face, by (68, 2) x and y of landmarks. They count from the first pixel's centre."""
    if landmarks.shape != (68, 2) or not np.isfinite(landmarks).all():
        raise ValueError(f"landmarks must be (68, 2) finite numbers, got {landmarks.shape}")
    points = landmarks.astype(np.float64) @ [1, 1j] + 0.5 + 0.5j
    return ffhq_frame(*(complex(points[group].mean()) for group in (LEFT_EYE, RIGHT_EYE, MOUTH_CORNERS)))


def whole(image: Tensor) -> Frame:
    """The upright square around a picture (C, H, W)."""
    H, W = image.shape[1:]
    return Frame(complex(W / 2, H / 2), complex(max(H, W) / 2))


def cut(image: Tensor, frame: Frame, size: int) -> Tensor:
    """What a frame shows of a picture. (C, H, W) -> (C, size, size), without aliasing where it shrinks."""
    _, H, W = image.shape
    finer = max(1, math.ceil(min(frame.side, 2 * max(H, W)) / size))  # beyond, there are only mirrors
    t = (torch.arange(size * finer, dtype=torch.float64) + 0.5) * (2 / (size * finer)) - 1
    points = frame.center + frame.axis * torch.complex(t.expand(len(t), -1), t[:, None].expand(-1, len(t)))
    grid = torch.stack([points.real * (2 / W) - 1, points.imag * (2 / H) - 1], dim=-1).to(image)
    sampled = F.grid_sample(image[None], grid[None], "bilinear", "reflection", align_corners=False)
    return F.avg_pool2d(sampled, finer)[0]


def paste(image: Tensor, square: Tensor, frame: Frame, feather: float = 0.1) -> Tensor:
    """A picture with a square put back where `frame` cuts it out.

    Args:
        image: (C, H, W).
        square: (C, S, S).
        feather: share of the way from the border of the square to its centre over which it fades in.

    Returns:
        (C, H, W).
    """
    if not 0 < feather <= 1:
        raise ValueError(f"feather must be more than 0 and at most 1, got {feather}")
    _, H, W = image.shape
    shown = max(1, round(frame.side))
    if shown < square.shape[1]:
        square = F.interpolate(square[None], (shown, shown), mode="area")[0]
    x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in (W, H))
    places = (torch.complex(x.expand(H, W), y[:, None].expand(H, W)) - frame.center) / frame.axis
    grid = torch.stack([places.real, places.imag], dim=-1).to(image)
    pasted = F.grid_sample(square[None], grid[None], "bilinear", "border", align_corners=False)[0]
    weight = ((1 - grid.abs().amax(dim=-1)) / feather).clamp(0, 1)
    return torch.lerp(image, pasted, weight)
