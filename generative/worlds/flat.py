"""Portraits as flat pictures, as in a cartoon: one colour for each part, and dark lines where parts meet.

The same factors give the same shapes as `render`, so that the two styles are two worlds of one structure.
"""

import torch
from torch import Tensor

from generative.worlds.portraits import PARTS

LINE = 0.35  # brightness of a line, in terms of what lies there


def flattened(images: Tensor, parts: Tensor) -> Tensor:
    """images: (N, 3, H, W) in [-1, 1], parts: (N, H, W) uint8 -> (N, 3, H, W)."""
    N, C = images.shape[:2]
    index = parts.long().flatten(1)[:, None].expand(-1, C, -1)
    sums = torch.zeros(N, C, len(PARTS)).to(images).scatter_add_(2, index, images.flatten(2))
    counts = torch.zeros_like(sums).scatter_add_(2, index, torch.ones_like(images).flatten(2))
    flat = (sums / counts.clamp(min=1)).gather(2, index).view_as(images)
    return torch.where(_edges(parts)[:, None], (flat + 1) * LINE - 1, flat)


def _edges(parts: Tensor) -> Tensor:
    """(N, H, W) bool: where the part to the right or below is another."""
    edges = torch.zeros_like(parts, dtype=torch.bool)
    edges[:, :, :-1] |= parts[:, :, 1:] != parts[:, :, :-1]
    edges[:, :-1] |= parts[:, 1:] != parts[:, :-1]
    return edges
