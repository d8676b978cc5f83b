"""A picture in the making: from which latents it will be painted, by which generator, and what is done to
features on the way.

Operations turn a draft into another; nothing is painted before all have acted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.latents import Latents
from workers.work.painting import Paint, PaintEdited, Touch
from workers.work.sources import Painter

INSIDE = 255  # of a mask


@dataclass(frozen=True)
class Touched:
    """A touch with what it needs, (N, ...) each."""

    touch: Touch
    tensors: Mapping[str, Tensor]
    local: bool
    """Whether its mask leaves something out."""


@dataclass(frozen=True)
class Region:
    """Where a code of its own paints."""

    mask: Tensor  # (N, 1, R, R) uint8
    of_styles: bool


@dataclass(frozen=True)
class Draft:
    """N pictures. The first code is that of the whole picture, and each region has one more."""

    codes: tuple[Latents, ...]
    painter: Painter
    regions: tuple[Region, ...] = ()
    touches: tuple[Touched, ...] = ()

    def __len__(self) -> int:
        return len(self.codes[0])

    def moved(self, move: Callable[[Latents], Latents]) -> "Draft":
        """With every code moved."""
        return replace(self, codes=tuple(map(move, self.codes)))

    def touched(self, touch: Touch, tensors: Mapping[str, Tensor], mask: Tensor | None) -> "Draft":
        """tensors: (N, ...) each; mask: (N, 1, R, R) uint8, None for everywhere."""
        N, R = len(self), self.painter.generator.img_resolution
        whole = torch.tensor(INSIDE, dtype=torch.uint8).expand(N, 1, R, R)
        needed = {**tensors, "mask": whole if mask is None else mask}
        return replace(self, touches=(*self.touches, Touched(touch, needed, mask is not None)))

    def op(self, paint: Paint) -> Paint | PaintEdited:
        """What the engine is to run; drafts with the same one share blocks."""
        if not self.regions and not self.touches:
            return paint
        return PaintEdited(
            paint, tuple(t.touch for t in self.touches), tuple(region.of_styles for region in self.regions)
        )

    def extras(self) -> dict[str, Tensor]:
        """The inputs of `op` beside the codes, (N, ...) each."""
        masks = {f"mask{k + 1}": region.mask for k, region in enumerate(self.regions)}
        return masks | {
            f"touch{i}:{name}": t for i, one in enumerate(self.touches) for name, t in one.tensors.items()
        }
