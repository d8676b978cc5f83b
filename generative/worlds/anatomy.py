"""From factors to solids: the ellipsoids that a portrait is made of, and where hair, beard and hat stop.

Lengths are in world units (the default picture is 2 wide). The head frame has its origin at the middle of
the head; the body frame turns a third as far as the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from generative.worlds import steady
from generative.worlds.geometry import Camera, Frame, Vec, turned

PARTS: tuple[str, ...] = (
    "background",
    "skin",
    "hair",
    "left eye",
    "right eye",
    "brows",
    "nose",
    "mouth",
    "glasses",
    "beard",
    "ears",
    "neck",
    "shirt",
    "hat",
    "earrings",
)
"""Names of the labels of a part map. Left and right are the person's own."""
LABELS = {name: label for label, name in enumerate(PARTS)}
HAT_Y = 0.28
ARM_X = 0.395
EYE_X, EYE_Y, BROW_Y, MOUTH_Y = 0.185, 0.035, 0.185, -0.315

Columns = dict[str, Tensor]
Cut = Callable[[Vec, Columns], Tensor]


@dataclass(frozen=True)
class Solid:
    """An ellipsoid in the head's or the body's frame.

    `cut` (optional) says where it is solid: (points in the frame, factor columns) -> bool. A cut solid
    shows its inside. `present` (optional) is the factor that must be 1 for it to exist.
    """

    part: str
    group: str
    center: Vec
    radii: Vec
    body: bool = False
    cut: Cut | None = None
    present: Tensor | None = None

    def at(self, rows: Tensor) -> Solid:
        """The solid of the portraits `rows` alone."""
        present = None if self.present is None else self.present[rows]
        return replace(self, center=self.center.at(rows), radii=self.radii.at(rows), present=present)


@dataclass(frozen=True)
class Scene:
    """N portraits ready to be met by rays, in camera coordinates."""

    columns: Columns
    head: Frame
    body: Frame
    light: Vec
    solids: list[Solid]

    def frame(self, solid: Solid) -> Frame:
        return self.body if solid.body else self.head


def build(columns: Columns, camera: Camera) -> Scene:
    """Place the solids of N portraits (columns of (N,) factors) before a camera."""
    yaw = columns["yaw"]
    zero = torch.zeros_like(yaw)
    view = camera.frame(yaw)
    head = turned(yaw, columns["pitch"], Vec(zero, zero + 0.03, zero))
    body = turned(yaw * 0.35, zero, Vec(zero, zero, zero))
    azimuth, elevation = columns["light_azimuth"], columns["light_elevation"]
    level = steady.cos(elevation)
    light = Vec(steady.sin(azimuth) * level, steady.sin(elevation), steady.cos(azimuth) * level)
    solids = _face(columns) + _hair(columns) + _body(columns) + _worn(columns)
    return Scene(columns, head.seen_from(view), body.seen_from(view), view.local_direction(light), solids)


def _vec(like: Tensor, x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Vec:
    zero = torch.zeros_like(like)
    return Vec(zero + x, zero + y, zero + z)


def skull(c: Columns) -> tuple[Vec, Vec]:
    """Centre and radii of the skull."""
    w = c["face_width"]
    return _vec(w, 0, 0.09, -0.03), _vec(w, 0.475 * w, 0.52, 0.5)


def chin(c: Columns) -> tuple[Vec, Vec]:
    """Centre and radii of the lower face."""
    w, jaw = c["face_width"], c["jaw"]
    return _vec(w, 0, -0.17 - 0.02 * jaw, 0.02), _vec(w, (0.355 + 0.095 * jaw) * w, 0.425, 0.43)


def _face(c: Columns) -> list[Solid]:
    w, nose, smile = c["face_width"], c["nose_size"], c["smile"].clamp(min=0)
    solids = [Solid("skin", "face", *skull(c)), Solid("skin", "face", *chin(c))]
    solids.append(
        Solid("nose", "face", _vec(w, 0, -0.03, 0.44), _vec(w, 0.05 * nose, 0.15, 0.035 + 0.04 * nose))
    )
    tip = _vec(w, 0, -0.115 - 0.03 * nose, 0.445 + 0.02 * nose)
    solids.append(Solid("nose", "face", tip, _vec(w, 0.085 * nose, 0.066 * nose, 0.1 * nose)))
    for side in (-1, 1):
        cheek = _vec(w, side * 0.21 * w, -0.16 + 0.03 * smile, 0.285 + 0.02 * smile)
        solids.append(Solid("skin", "face", cheek, _vec(w, 0.16, 0.14, 0.13)))
    for side in (-1, 1):
        ear = _vec(w, side * 0.475 * w, -0.03, -0.03)
        solids.append(Solid("ears", "ears", ear, _vec(w, 0.055, 0.12, 0.085)))
    return solids


def grown(c: Columns) -> Tensor:
    """How far short hair has grown, in [0, 1]: what it does before it falls to the shoulders."""
    return (c["hair_length"] * 2.5).clamp(0, 1)


def _hair(c: Columns) -> list[Solid]:
    center, radii = skull(c)
    length, volume = c["hair_length"], c["hair_volume"]
    puff = (0.03 + 0.07 * volume) * (0.35 + 0.65 * grown(c))
    cap = radii.plus(_vec(length, puff, puff + 0.01, puff))
    solids = [Solid("hair", "hair", center.plus(_vec(length, 0, 0.015, -0.015)), cap, cut=_cap)]
    bottom = -0.25 - 0.75 * length
    top = 0.58 + 0.05 * volume
    w = c["face_width"]
    middle = _vec(w, 0, (top + bottom) / 2, -0.13)
    mass = _vec(w, (0.535 + 0.07 * volume) * w + 0.015 * length, (top - bottom) / 2, 0.42 + 0.05 * volume)
    solids.append(Solid("hair", "hair", middle, mass, cut=_mass, present=(length > 0.4).float()))
    beard_center, beard_radii = chin(c)
    beard_radii = beard_radii.plus(_vec(w, 0.028, 0.05, 0.035))
    solids.append(Solid("beard", "beard", beard_center, beard_radii, cut=_beard, present=c["beard"]))
    return solids


def _body(c: Columns) -> list[Solid]:
    w, jaw = c["face_width"], c["jaw"]
    neck = Solid("neck", "neck", _vec(w, 0, -0.6, -0.1), _vec(w, 0.19 + 0.03 * jaw, 0.4, 0.2), body=True)
    chest = Solid("shirt", "torso", _vec(w, 0, -1.2, -0.1), _vec(w, 0.76, 0.55, 0.42), body=True)
    arms = [
        Solid("shirt", "torso", _vec(w, s * 0.52, -1.2, -0.12), _vec(w, 0.38, 0.36, 0.34), body=True)
        for s in (-1, 1)
    ]
    return [neck, chest, *arms]


def _worn(c: Columns) -> list[Solid]:
    w = c["face_width"]
    center, radii = skull(c)
    knit = radii.plus(_vec(w, 0.06, 0.085, 0.06))
    solids = [Solid("hat", "hat", center.plus(_vec(w, 0, 0.02, -0.01)), knit, cut=_knit, present=c["hat"])]
    band = _vec(w, knit.x - 0.002, 0.13, knit.z - 0.002)
    solids.append(Solid("hat", "band", _vec(w, 0, 0.29, -0.035), band, cut=_band, present=c["hat"]))
    for side in (-1, 1):
        ring = _vec(w, side * (0.475 * w + 0.06), -0.19, 0.0)
        solids.append(Solid("earrings", "earrings", ring, _vec(w, 0.05, 0.055, 0.05), present=c["earrings"]))
    for side in (-1, 1):
        arm = _vec(w, side * ARM_X, EYE_Y + 0.02, 0.27)
        solids.append(Solid("glasses", "arms", arm, _vec(w, 0.022, 0.026, 0.25), present=c["glasses"]))
    return solids


def hairline(p: Vec, c: Columns) -> Tensor:
    """How far inside the hair a point near the skull is (M,): positive under the hair, in skull units."""
    center, radii = skull(c)
    u, v, w = p.minus(center).over(radii)
    # A parting on one side when the hairline is high, a straight fringe when it is low.
    front = (
        0.66
        - 0.36 * c["fringe"]
        + (1 - c["fringe"]) * (0.16 * u + 0.12 * steady.decay(((u - 0.32) * 4.5) ** 2))
        + 0.055 * c["curl"] * steady.sin(u * 11)
    )
    nape = ((0.12 - w) * 4).clamp(0, 1)
    low = 0.2 - 0.28 * grown(c) - nape * (0.95 - 0.35 * (w > -0.35) * nape)
    side = torch.minimum(0.36 - 0.12 * v.clamp(min=0) - w, v - low)
    return torch.maximum(v - front, side)


def _bare(p: Vec, c: Columns) -> Tensor:
    """Where no hat presses the hair down."""
    return (p.y < HAT_Y) | (c["hat"] < 0.5)


def _cap(p: Vec, c: Columns) -> Tensor:
    return (hairline(p, c) > 0) & _bare(p, c)


def _mass(p: Vec, c: Columns) -> Tensor:
    # Hair opens for face and neck: nothing of it in a tube before the ears.
    tube = (p.x / 0.4) ** 2 + ((p.y + 0.12) / 0.66) ** 2
    wave = 0.05 * c["curl"] * steady.sin(p.y * 16)
    return ~((p.z > -0.02) & (tube < 1 + wave)) & _bare(p, c)


def beard_line(p: Vec, c: Columns) -> Tensor:
    """How far inside the beard a point near the jaw is (M,): positive in the beard, in world units."""
    w = c["face_width"]
    side = (p.x / (0.4 * w)) ** 2
    # A moustache in the middle, bare cheeks beside it, sideburns at the ears
    top = -0.225 - 0.3 * side + 0.52 * side * side
    opening, smile = c["mouth_open"], c["smile"].clamp(min=0)
    gap_x, gap_y = p.x / (0.158 + 0.03 * smile), (p.y - MOUTH_Y + 0.035 * opening) / (0.058 + 0.045 * opening)
    gap = (gap_x * gap_x + gap_y * gap_y).sqrt()
    return torch.minimum(torch.minimum(top - p.y, (gap - 1) * 0.06), p.z + 0.12)


def _beard(p: Vec, c: Columns) -> Tensor:
    return beard_line(p, c) > 0


def _knit(p: Vec, c: Columns) -> Tensor:
    return p.y > HAT_Y


def _band(p: Vec, c: Columns) -> Tensor:
    return p.y > HAT_Y - 0.06
