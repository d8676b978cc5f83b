"""What is painted on a face: eyes, brows, mouth, cheeks, lines of age; and the neckline of a shirt.

Everything is drawn in the coordinates of the head, as seen from its front, with edges a little softer than
a pixel. All tensors are flat over the pixels that show the face, (M,), so that nothing is computed where
there is no face.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generative.worlds.anatomy import (
    BROW_Y,
    EYE_X,
    EYE_Y,
    LABELS,
    MOUTH_Y,
    Columns,
    beard_line,
    hairline,
)
from generative.worlds.geometry import Vec


class Canvas:
    """Albedo (linear light), gloss and part labels of pixels, (M,) each, that are painted over in order."""

    def __init__(self, color: Vec, parts: Tensor, edge: float) -> None:
        self.color = color
        self.parts = parts
        self.gloss = torch.zeros_like(color.x)
        self.edge = edge

    def cover(self, distance: Tensor, soft: float = 0.0) -> Tensor:
        """Cover (M,) of a shape from its signed distance: 1 inside, 0 outside, soft at the edge."""
        return (0.5 - distance / max(self.edge, soft)).clamp_(0, 1)

    def paint(self, cover: Tensor, color: tuple[float, float, float] | Vec, part: int | None = None) -> None:
        (r, g, b), (new_r, new_g, new_b) = self.color, color
        self.color = Vec(r + (new_r - r) * cover, g + (new_g - g) * cover, b + (new_b - b) * cover)
        if part is not None:
            self.parts.masked_fill_(cover > 0.5, part)

    def tint(self, cover: Tensor, factor: tuple[float, float, float]) -> None:
        self.color = Vec(*(a * (1 + (f - 1) * cover) for a, f in zip(self.color, factor, strict=True)))


def face(canvas: Canvas, p: Vec, c: Columns, iris: Vec, hair: Vec) -> None:
    """Paint all features at points `p` of the head frame; `iris` and `hair` are colours, (M,) a component."""
    front = (p.z > 0.05).float()
    _complexion(canvas, p, c, front)
    _age(canvas, p, c, front)
    _mouth(canvas, p, c, front, LABELS["mouth"])
    for side, label in ((-1, LABELS["right eye"]), (1, LABELS["left eye"])):
        _eye(canvas, p, c, front, side, iris, label)
    _brows(canvas, p, c, front, hair, LABELS["brows"])
    # Soft shade under hair and around the beard, where it rises above the skin
    near = (1 + hairline(p, c) * 5).clamp(0, 1)
    canvas.tint(near, (0.62, 0.5, 0.46))
    beard = beard_line(p, c)
    canvas.tint((1 + beard * 14).clamp(0, 1) * c["beard"] * front, (0.72, 0.62, 0.58))
    # Cheeks may rise through the beard: they wear it too
    canvas.paint(canvas.cover(-beard) * c["beard"], hair.times(0.9), LABELS["beard"])


def _complexion(canvas: Canvas, p: Vec, c: Columns, front: Tensor) -> None:
    for side in (-1, 1):
        d = ((p.x - side * 0.25) / 0.15) ** 2 + ((p.y + 0.14) / 0.11) ** 2
        # Cheeks are rosy in the young, and redder in a smile
        rosy = (0.7 + 0.3 * c["smile"]) * (1.5 - 1.4 * c["age"])
        canvas.tint((1 - d).clamp(0, 1) * front * rosy, (1.0, 0.74, 0.7))
        socket = ((p.x - side * EYE_X) / 0.17) ** 2 + ((p.y - EYE_Y - 0.02) / 0.12) ** 2
        canvas.tint((1.1 - socket).clamp(0, 1) * front, (0.86, 0.76, 0.74))
    tip = (p.x / 0.1) ** 2 + ((p.y + 0.14) / 0.07) ** 2
    canvas.tint((1 - tip).clamp(0, 1) * (p.z > 0.45).float(), (1.0, 0.84, 0.8))
    nose = c["nose_size"]
    under = (p.x / (0.11 * nose)) ** 2 + ((p.y + 0.16 + 0.055 * nose) / 0.035) ** 2
    canvas.tint((1 - under).clamp(0, 1) * front, (0.62, 0.5, 0.46))


def _age(canvas: Canvas, p: Vec, c: Columns, front: Tensor) -> None:
    """Furrows that deepen and widen with the years, from the first faint ones on."""
    ax = p.x.abs()
    depth = c["age"]
    half = 0.004 + 0.016 * depth
    lines = torch.zeros_like(p.x)
    for y, reach in ((0.25, 0.16), (0.33, 0.22), (0.405, 0.18)):
        d = (p.y - y + 0.3 * p.x * p.x).abs() - half
        lines = torch.maximum(lines, canvas.cover(d, 0.03) * (1 - (p.x / reach) ** 2).clamp(0, 1))
    # From the wings of the nose to the corners of the mouth, pushed out by a smile
    fold = (ax - (0.125 + 0.02 * c["smile"]) - 0.35 * (-0.17 - p.y).clamp(min=0)).abs() - half
    inside = ((-0.15 - p.y) / 0.05).clamp(0, 1) * ((p.y + 0.36) / 0.06).clamp(0, 1)
    lines = torch.maximum(lines, canvas.cover(fold, 0.03) * inside)
    bag = (((ax - EYE_X) / 0.12) ** 2 + ((p.y - EYE_Y + 0.03) / 0.09) ** 2).sqrt() - 1
    below = ((EYE_Y - 0.05 - p.y) / 0.03).clamp(0, 1)
    lines = torch.maximum(lines, canvas.cover(bag.abs() * 0.09 - half, 0.03) * below)
    # Crow's feet fan out from the outer corners of the eyes
    out, up = ax - EYE_X - 0.125, p.y - EYE_Y + 0.01
    feet = (up.abs() - 0.45 * out).abs() - 0.6 * half
    lines = torch.maximum(lines, canvas.cover(feet, 0.03) * ((0.085 - out) / 0.03).clamp(0, 1) * (out > 0))
    canvas.tint((lines * front * depth * 1.15).clamp(max=1), (0.42, 0.28, 0.24))


def _mouth(canvas: Canvas, p: Vec, c: Columns, front: Tensor, label: int) -> None:
    smile, opening = c["smile"], c["mouth_open"]
    half = 0.152 + 0.038 * smile
    u = (p.x / half).clamp(-1.2, 1.2)
    arch = (1 - u * u).clamp(min=0).sqrt()
    line = MOUTH_Y + 0.105 * smile * (u * u - 0.35)
    y = p.y - line
    gap_top, gap_low = 0.022 * opening, -0.105 * opening
    lip = 0.03
    outside = (u.abs() - 1) * half
    lips = torch.maximum(
        torch.maximum(y - (gap_top + lip) * arch, (gap_low - lip * 1.25) * arch - y), outside
    )
    cover = canvas.cover(lips) * front
    skin = canvas.color
    lip_color = Vec(skin.x * 0.62 + 0.10, skin.y * 0.38 + 0.015, skin.z * 0.40 + 0.02)
    canvas.paint(cover, lip_color, label)
    canvas.gloss = canvas.gloss + cover * 0.15
    seam = torch.maximum(torch.maximum(y - (gap_top + 0.006) * arch, (gap_low - 0.006) * arch - y), outside)
    inner = canvas.cover(seam) * front
    canvas.paint(inner * (0.55 + 0.45 * (opening * 5).clamp(0, 1)), (0.07, 0.012, 0.015))
    inside = torch.maximum(torch.maximum(y - gap_top * arch, gap_low * arch - y), outside + 0.015)
    show = front * (opening * 8).clamp(0, 1)
    tongue = torch.maximum(inside, y - gap_low + 0.035)
    canvas.paint(canvas.cover(tongue) * show * 0.8, (0.55, 0.11, 0.12))
    teeth = torch.maximum(inside, gap_top - 0.036 - y)
    canvas.paint(canvas.cover(teeth) * show, (0.88, 0.86, 0.81))


def _eye(canvas: Canvas, p: Vec, c: Columns, front: Tensor, side: int, iris: Vec, label: int) -> None:
    size = c["eye_size"]
    x, y = p.x - side * EYE_X, p.y - EYE_Y
    half = 0.112 * (0.5 + 0.5 * size)
    u = (x / half).clamp(-1.3, 1.3)
    arch = (1 - u * u).clamp(min=-0.5)
    top = (0.073 * size) * arch
    low = (-0.057 * size + 0.022 * c["smile"].clamp(min=0)) * arch
    lens = torch.maximum(y - top, low - y)
    canvas.paint(canvas.cover(lens - 0.006, 0.03) * front * 0.5, (0.12, 0.05, 0.04))
    cover = canvas.cover(lens) * front
    canvas.paint(cover, (0.86, 0.85, 0.84), label)
    canvas.gloss = canvas.gloss * (1 - cover)
    gx = x - 0.034 * c["gaze"]
    r = (gx * gx + (y - 0.004) ** 2).sqrt()
    canvas.paint(canvas.cover(r - 0.066) * cover, iris.times(0.35))
    canvas.paint(canvas.cover(r - 0.055) * cover, iris)
    canvas.paint(canvas.cover(r - 0.029) * cover, (0.006, 0.005, 0.006))
    # The upper lid throws a shade on the ball, and its lashes draw a dark line
    canvas.tint(canvas.cover(-(y - top + 0.022), 0.03) * cover * 0.5, (0.45, 0.42, 0.45))
    spot = ((gx - 0.024) ** 2 + (y - 0.03) ** 2).sqrt() - 0.017
    canvas.paint(canvas.cover(spot) * cover, (1.0, 1.0, 1.0))
    lash = torch.maximum((y - top - 0.004).abs() - 0.013, u.abs() * half - half - 0.008)
    canvas.paint(canvas.cover(lash) * front * 0.9, (0.025, 0.015, 0.012))


def _brows(canvas: Canvas, p: Vec, c: Columns, front: Tensor, hair: Vec, label: int) -> None:
    x = p.x.abs() - EYE_X
    u = x / 0.13
    height = BROW_Y + 0.042 * c["brow"] + 0.012 * (c["eye_size"] - 1) / 0.2
    # A frown lowers the inner ends, surprise lifts the arch
    line = height - 0.03 * u * u + (0.003 - 0.048 * c["brow"].clamp(max=0)) * u
    thick = 0.027 * (1 - 0.45 * u.clamp(min=0)) * (1.1 - u * u).clamp(min=0).sqrt()
    cover = canvas.cover(torch.maximum((p.y - line).abs() - thick, u.abs() * 0.13 - 0.13)) * front
    dark = Vec(*(0.55 * h for h in hair))
    canvas.paint(cover * 0.92, dark, label)


def neckline(canvas: Canvas, p: Vec, c: Columns, skin: Vec) -> None:
    """A round neck with a knitted rim, or an open shirt collar with two flaps."""
    front = (p.z > -0.15).float()
    shirt = canvas.color
    ring = ((p.x / 0.235) ** 2 + ((p.y + 0.66) / 0.13) ** 2).sqrt() - 1
    round_neck, collar = front * (1 - c["collar"]), front * c["collar"]
    rim = Vec(*(0.55 * s + 0.02 for s in shirt))
    canvas.paint(canvas.cover(ring * 0.2 - 0.055) * round_neck, rim)
    canvas.paint(canvas.cover(ring * 0.2) * round_neck, skin, LABELS["neck"])
    ax = p.x.abs()
    opening = ax - 0.55 * (p.y + 0.93)
    flap = torch.maximum(opening - 0.15, -(p.y + 0.92) + 0.35 * ax - 0.06)
    light = Vec(*(s + (0.9 - s) * 0.55 for s in shirt))
    canvas.paint(canvas.cover(flap - 0.02, 0.04) * collar * 0.5, (0.02, 0.02, 0.03))
    canvas.paint(canvas.cover(flap) * collar, light)
    canvas.paint(canvas.cover(opening) * collar, skin, LABELS["neck"])
