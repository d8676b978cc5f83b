"""Colours of the portraits world, and the paths through them that continuous factors walk.

Colours are written as sRGB bytes, as a painter would pick them, and used as linear light (IEC 61966-2-1
approximated by the power 2.2), in which shading is done. A path is a list of stops; position 0 is the first
and 1 the last, and between stops it is linear. Neighbours on a path are close in hue, so what lies between
them is as pleasant as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor

GAMMA = 2.2

SKIN = {
    "very fair": (250, 217, 198),
    "fair": (248, 206, 178),
    "light brown": (228, 176, 140),
    "tan": (196, 139, 102),
    "brown": (150, 98, 70),
    "dark brown": (116, 76, 56),
}
HAIR = {
    "black": (44, 37, 38),
    "brown": (98, 62, 42),
    "auburn": (134, 60, 40),
    "ginger": (194, 102, 52),
    "blond": (222, 182, 114),
    "grey": (172, 172, 180),
}
IRIS = {"brown": (104, 62, 36), "green": (78, 138, 84), "blue": (66, 128, 200), "grey": (122, 142, 158)}
BACKGROUND = {
    "cream": (242, 228, 202),
    "peach": (247, 204, 174),
    "coral": (236, 158, 136),
    "rose": (218, 146, 166),
    "lavender": (184, 166, 214),
    "blue": (140, 164, 218),
    "sky blue": (146, 200, 230),
    "turquoise": (118, 190, 188),
    "sage green": (166, 200, 166),
}
SHIRT = {
    "red": (188, 58, 66),
    "orange": (212, 112, 62),
    "yellow": (228, 180, 78),
    "green": (74, 134, 92),
    "teal": (44, 130, 140),
    "navy": (48, 72, 132),
    "purple": (116, 72, 132),
    "dark grey": (74, 76, 88),
    "white": (238, 236, 230),
}
PART_COLORS = {
    "background": (38, 42, 56),
    "skin": (244, 198, 164),
    "hair": (122, 84, 148),
    "left eye": (94, 196, 230),
    "right eye": (52, 120, 210),
    "brows": (86, 52, 92),
    "nose": (250, 164, 116),
    "mouth": (226, 72, 92),
    "glasses": (18, 18, 22),
    "beard": (168, 116, 70),
    "ears": (236, 150, 150),
    "neck": (206, 158, 134),
    "shirt": (72, 166, 140),
    "hat": (240, 190, 70),
    "earrings": (255, 240, 120),
}
"""What part maps are shown in, by part and in the order of the labels."""

Palette = dict[str, tuple[int, int, int]]


def linear(palette: Palette, like: Tensor) -> Tensor:
    """Stops of a palette as linear light (K, 3), on the device of `like`."""
    stops = [[(byte / 255) ** GAMMA for byte in stop] for stop in palette.values()]
    return torch.tensor(stops, dtype=torch.float32, device=like.device)


def along(palette: Palette, position: Tensor) -> Tensor:
    """Colour at `position` (N,) in [0, 1] on the path: (N, 3), linear light."""
    stops = linear(palette, position)
    x = position.clamp(0.0, 1.0) * (len(stops) - 1)
    left = x.floor().long().clamp(max=len(stops) - 2)
    share = (x - left)[:, None]
    return stops[left] * (1 - share) + stops[left + 1] * share


def pick(palette: Palette, index: Tensor) -> Tensor:
    """Colour number `index` (N,): (N, 3), linear light."""
    return linear(palette, index)[index.long()]


def nearest(palette: Palette, position: float) -> str:
    """Name of the stop that is nearest to `position` on the path."""
    return list(palette)[round(min(max(position, 0.0), 1.0) * (len(palette) - 1))]
