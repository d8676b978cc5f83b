"""Edits of a part of the picture, blended in the layers of the generator.

A picture with K regions is painted from K + 1 codes at once, stacked along the batch: the first paints what
lies outside, each other one inside its mask. After every layer the stack is blended, in one of two ways:

* features: code k sees code k - 1 outside its mask, at every layer. What is outside is then exactly what the
  first code paints there, up to the filters between layers, as when local channels of StyleSpace act;
* styles: all codes see the same blend, so every layer takes the edited style inside and the other outside,
  from one input: the split of w of "Paint by Word" (Andonian et al., 2021, section 3.2).

Axis letters: N pictures, K regions, C channels, R R the picture's size, h w a layer's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_at(mask: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 1, R, R) -> (N, 1, h, w): the share of each place that is inside."""
    return mask if mask.shape[-2:] == tuple(size) else F.interpolate(mask, tuple(size), mode="area")


def blend(stack: Tensor, masks: Sequence[Tensor], of_styles: Sequence[bool]) -> Tensor:
    """What the next layer sees.

    Args:
        stack: ((K + 1) N, C, h, w), a layer's output for each code.
        masks: K of (N, 1, R, R) in [0, 1]; where they overlap, the later counts.
        of_styles: K, for each region whether it splits styles; else it blends features.
    """
    first, *edited = stack.chunk(len(masks) + 1)
    seen = [first]
    for mask, inside, split in zip(masks, edited, of_styles, strict=True):
        blended = torch.lerp(seen[-1], inside, mask_at(mask, inside.shape[-2:]).to(inside))
        seen = [blended] * (len(seen) + 1) if split else [*seen, blended]
    return torch.cat(seen)


def box_mask(left: float, top: float, width: float, height: float, side: int) -> Tensor:
    """(side, side) in [0, 1]: how much of each pixel is in a box, given in shares of the sides."""
    edges = torch.arange(side + 1) / side

    def covered(start: float, length: float) -> Tensor:
        inside = edges.clamp(start, min(start + length, 1.0))
        return (inside[1:] - inside[:-1]) * side

    return (covered(top, height)[:, None] * covered(left, width)).float()


def grown(mask: Tensor, pixels: int) -> Tensor:
    """(N, 1, R, R) -> the same, larger by so many pixels in every direction (square)."""
    return F.max_pool2d(mask, 2 * pixels + 1, stride=1, padding=pixels) if pixels else mask


def feathered(mask: Tensor, pixels: int) -> Tensor:
    """(N, 1, R, R) -> the same, its edges fading over so many pixels (a box filter, twice)."""
    if pixels == 0:
        return mask
    width = pixels + 1 - pixels % 2
    for _ in range(2):
        edges = F.pad(mask, [width // 2] * 4, mode="replicate")
        mask = F.avg_pool2d(edges, width, stride=1)
    return mask
