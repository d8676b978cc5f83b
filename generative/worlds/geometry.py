"""Orthographic camera, rotations and the analytic meeting of rays with ellipsoids.

World axes: x to the viewer's right, y up, z towards the viewer; the picture of the default camera spans
[-1, 1] in x and y. Camera axes are the same, turned with the camera. A ray leaves pixel (X, Y) along -z of
the camera, so a point is known by X, Y and its camera z: larger is nearer. Depth is measured from a plane
at `STAND` before the target.

Everything is written per component, without matrix products or reductions, and with the functions of
`steady`, so that a picture is the same to the last bit whatever else is in its batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from generative.worlds import steady

STAND = 4.0
BACKDROP = 6.0


class Vec(NamedTuple):
    """Three coordinates, each a tensor of the same shape."""

    x: Tensor
    y: Tensor
    z: Tensor

    def plus(self, other: Vec) -> Vec:
        return Vec(self.x + other.x, self.y + other.y, self.z + other.z)

    def minus(self, other: Vec) -> Vec:
        return Vec(self.x - other.x, self.y - other.y, self.z - other.z)

    def times(self, factor: Tensor | float) -> Vec:
        return Vec(self.x * factor, self.y * factor, self.z * factor)

    def over(self, other: Vec) -> Vec:
        return Vec(self.x / other.x, self.y / other.y, self.z / other.z)

    def dot(self, other: Vec) -> Tensor:
        return self.x * other.x + self.y * other.y + self.z * other.z

    def length(self) -> Tensor:
        return (self.x * self.x + self.y * self.y + self.z * self.z).sqrt()

    def unit(self) -> Vec:
        return self.times(1 / (self.length() + 1e-9))

    def at(self, index: Tensor) -> Vec:
        return Vec(self.x[index], self.y[index], self.z[index])


class Frame(NamedTuple):
    """A rotation (the images of the local axes) and an origin, in outer coordinates; (N,) a component."""

    ex: Vec
    ey: Vec
    ez: Vec
    origin: Vec

    def point(self, local: Vec) -> Vec:
        return self.direction(local).plus(self.origin)

    def direction(self, local: Vec) -> Vec:
        return self.ex.times(local.x).plus(self.ey.times(local.y)).plus(self.ez.times(local.z))

    def local(self, point: Vec) -> Vec:
        return self.local_direction(point.minus(self.origin))

    def local_direction(self, direction: Vec) -> Vec:
        return Vec(self.ex.dot(direction), self.ey.dot(direction), self.ez.dot(direction))

    def seen_from(self, outer: Frame) -> Frame:
        """The same frame, in the coordinates of `outer`."""
        ex, ey, ez = (outer.local_direction(axis) for axis in (self.ex, self.ey, self.ez))
        return Frame(ex, ey, ez, outer.local(self.origin))

    def at(self, index: Tensor) -> Frame:
        return Frame(*(part.at(index) for part in self))


def turned(yaw: Tensor, pitch: Tensor, origin: Vec) -> Frame:
    """Frame pitched about its own x axis, then yawed about the vertical; (N,) angles in radians."""
    cy, sy, cp, sp = steady.cos(yaw), steady.sin(yaw), steady.cos(pitch), steady.sin(pitch)
    zero = torch.zeros_like(yaw)
    return Frame(Vec(cy, zero, -sy), Vec(sy * sp, cp, cy * sp), Vec(sy * cp, -sp, cy * cp), origin)


@dataclass(frozen=True)
class Camera:
    """An orthographic camera that looks at `target` from a direction.

    `yaw` walks around to the viewer's right and `pitch` climbs, in radians; `half_height` is half of the
    side of the square that is seen, in world units. The picture is centred at `target`. Depths are lengths
    along the line of sight from a plane `STAND` before the target; the backdrop hangs at `BACKDROP` and
    turns with the camera.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    half_height: float = 1.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if not (self.half_height > 0 and math.isfinite(self.half_height)):
            raise ValueError("half_height must be positive")

    def frame(self, like: Tensor) -> Frame:
        """Axes of the camera in the world, one for each row of `like` (N,)."""
        zero = torch.zeros_like(like)
        origin = Vec(*(zero + c for c in self.target))
        return turned(zero + self.yaw, zero - self.pitch, origin)

    def points(self, depth: Tensor) -> Tensor:
        """World points (N, 3, H, W) that the pixel centres of a depth map (N, 1, H, W) show."""
        n, _, height, width = depth.shape
        frame = _cells(self.frame(depth.new_zeros(1)))
        x = pixel_centers(width, depth).expand(n, height, width) * self.half_height
        y = -pixel_centers(height, depth)[:, None].expand(n, height, width) * self.half_height
        return torch.stack(frame.point(Vec(x, y, STAND - depth[:, 0])), dim=1)

    def project(self, points: Tensor) -> Tensor:
        """Column, row and depth (N, 3, H, W) of world points (N, 3, H, W).

        Column and row are in [-1, 1] over the picture, right and down, as `torch.nn.functional.grid_sample`
        has them with `align_corners=False`.
        """
        frame = _cells(self.frame(points.new_zeros(1)))
        x, y, z = frame.local(Vec(*points.unbind(1)))
        return torch.stack([x / self.half_height, -y / self.half_height, STAND - z], dim=1)


def pixel_centers(n: int, like: Tensor) -> Tensor:
    """Where the centres of n pixels lie in [-1, 1]: (n,)."""
    return (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) * (2 / n) - 1


def _cells(frame: Frame) -> Frame:
    """A frame of (N,) numbers as one of (N, 1, 1), to meet maps (N, H, W)."""
    return Frame(*(Vec(*(v[:, None, None] for v in part)) for part in frame))


class Quadric(NamedTuple):
    """What a ray needs to know of N ellipsoids: z = cz + (slope . (dX, dY) +- sqrt(a - form(dX, dY))) / a."""

    a: Tensor
    slope_x: Tensor
    slope_y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor
    center: Vec


def quadric(frame: Frame, center: Vec, radii: Vec) -> Quadric:
    """Ellipsoid with `center` and `radii` in a local frame, itself in camera coordinates; (N,) each."""
    axes = [axis.times(1 / r) for axis, r in zip(frame[:3], radii, strict=True)]

    def dot(i: int, j: int) -> Tensor:
        return axes[0][i] * axes[0][j] + axes[1][i] * axes[1][j] + axes[2][i] * axes[2][j]

    # With o the offset from the centre in the camera plane and d = -z, |o + t d| = 1 in the frame scaled by
    # 1 / radii.
    a, bx, by = dot(2, 2), dot(0, 2), dot(1, 2)
    xx, xy, yy = a * dot(0, 0) - bx * bx, 2 * (a * dot(0, 1) - bx * by), a * dot(1, 1) - by * by
    return Quadric(a, -bx, -by, xx, xy, yy, frame.point(center))


def meet(q: Quadric, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Near and far camera z (N, H, W) of rays at columns x (W,) and rows y (H,); -inf where they miss."""

    def cell(v: Tensor) -> Tensor:
        return v[:, None, None]

    dx, dy = x[None, None, :] - cell(q.center.x), y[None, :, None] - cell(q.center.y)
    rest = (cell(q.a) - cell(q.xx) * dx * dx) - cell(q.yy) * dy * dy - (cell(q.xy) * dx) * dy
    root = rest.clamp(min=0).sqrt_().mul_(cell(1 / q.a))
    middle = (cell(q.slope_x / q.a) * dx + cell(q.center.z)) + cell(q.slope_y / q.a) * dy
    miss = rest <= 0
    near = (middle + root).masked_fill_(miss, -math.inf)
    far = middle.sub_(root).masked_fill_(miss, -math.inf)
    return near, far
