"""From factors to pictures, and to the truth about them.

A dense pass finds, for each ray, the nearest solid; a flat pass then shades the pixels of each group of
solids, so that eyes are computed only where there is a face. Pictures are means over a grid of rays in each
pixel, in linear light; the truth is what the one ray through the centre of a pixel meets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from generative.worlds import palettes, steady
from generative.worlds.anatomy import LABELS, Scene, build
from generative.worlds.factors import check, columns
from generative.worlds.geometry import BACKDROP, STAND, Camera, pixel_centers
from generative.worlds.looks import View, looks
from generative.worlds.spectacles import spectacles, wear
from generative.worlds.trace import trace

# Work is cut into pieces: large enough to hide the cost of a call, small enough for a core's cache or a
# GPU's memory. Pictures do not depend on it.
RAYS_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 24}


class Rendered(NamedTuple):
    """Pictures and, where asked for, their truth.

    image: (N, 3, H, W) in [-1, 1]. parts: (N, H, W) uint8, an index into `PARTS`. depth: (N, 1, H, W),
    world units, see `Camera`. normals: (N, 3, H, W), unit vectors in camera axes (x right, y up, z to the
    viewer) as used for shading, which flow over the seams between solids. Lenses of glasses are clear: what
    is behind them counts.
    """

    image: Tensor
    parts: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None


def render(
    factors: Tensor, size: int = 64, supersample: int = 2, camera: Camera | None = None, truth: bool = False
) -> Rendered:
    """Render factors (N, F), on their device, at size x size pixels of supersample x supersample rays.

    With `truth`, also parts, depth and normals. A portrait comes out the same to the last bit alone or in
    any batch. Raises `ValueError` for factors out of range and for sizes below 1.
    """
    if size < 1 or supersample < 1:
        raise ValueError("size and supersample must be at least 1")
    check(factors)
    camera, factors = camera or Camera(), factors.float()
    with torch.no_grad():
        (image,) = _in_pieces(
            lambda f, rows: (_picture(f, rows, size, supersample, camera),), factors, size, supersample
        )
        if not truth:
            return Rendered(image)
        return Rendered(image, *_in_pieces(lambda f, rows: _truth(f, rows, size, camera), factors, size, 1))


def _in_pieces(
    draw: Callable[[Tensor, slice], tuple[Tensor, ...]], factors: Tensor, size: int, supersample: int
) -> tuple[Tensor, ...]:
    """Call `draw` for some portraits and some rows of pixels at a time; join its maps (N, ..., rows, W)."""
    budget = RAYS_AT_ONCE.get(factors.device.type, RAYS_AT_ONCE["cpu"])
    portraits = max(1, budget // (size * supersample) ** 2)
    height = min(size, max(1, budget // (size * supersample * supersample)))
    bands = [slice(top, min(top + height, size)) for top in range(0, size, height)]
    pieces = [[draw(f, rows) for rows in bands] for f in factors.split(portraits)]
    joined = [[torch.cat(maps, dim=-2) for maps in zip(*piece, strict=True)] for piece in pieces]
    return tuple(torch.cat(maps) for maps in zip(*joined, strict=True))


def _view(factors: Tensor, rows: slice, size: int, supersample: int, camera: Camera) -> View:
    """Trace the rays of some rows of pixels."""
    grid = pixel_centers(size * supersample, factors)
    band = grid[rows.start * supersample : rows.stop * supersample]
    x, y = grid * camera.half_height, -band * camera.half_height
    scene = build(columns(factors), camera)
    # Painted edges are a little softer than a pixel, and never sharper than skin would be.
    edge = max(2 * camera.half_height / size * 0.6, 0.008)
    return View(scene, trace(scene, x, y), x, y, edge)


def _picture(factors: Tensor, rows: slice, size: int, supersample: int, camera: Camera) -> Tensor:
    view = _view(factors, rows, size, supersample, camera)
    color = _background(view.scene, view.x / camera.half_height, view.y / camera.half_height)
    for spot, look in looks(view):
        for plane, value in zip(color.view(3, -1), look.color, strict=True):
            plane[spot.index] = value
    worn = spectacles(view.scene, view.hits, view.x, view.y, view.edge)
    if worn is not None:
        wear(color, worn)
    image = steady.display(_pool(color, supersample)) * 2 - 1
    return image.transpose(0, 1).contiguous()


def _truth(factors: Tensor, rows: slice, size: int, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    view = _view(factors, rows, size, 1, camera)
    z, inside = view.hits.z, view.hits.inside.view(-1)
    parts = torch.zeros_like(view.hits.solid)
    normals = torch.zeros((3, *z.shape), dtype=z.dtype, device=z.device)
    normals[2] = 1
    for spot, look in looks(view):
        parts.view(-1)[spot.index] = look.parts
        # Of hair that is seen from inside, the other face is meant.
        sign = torch.where(inside[spot.index], -1.0, 1.0)
        for plane, value in zip(normals.view(3, -1), look.normal.times(sign), strict=True):
            plane[spot.index] = value
    worn = spectacles(view.scene, view.hits, view.x, view.y, view.edge)
    if worn is not None:
        rim = worn.rim > 0.5
        index = worn.spot.index[rim]
        parts.view(-1)[index] = LABELS["glasses"]
        z.view(-1)[index] = worn.spot.point.z[rim]
        for plane, value in zip(normals.view(3, -1), worn.normal, strict=True):
            plane[index] = value[rim]
    depth = torch.where(z == -math.inf, BACKDROP, STAND - z)[:, None]
    return parts, depth, normals.transpose(0, 1).contiguous()


def _background(scene: Scene, x: Tensor, y: Tensor) -> Tensor:
    """A soft gradient with a glow behind the head, fixed to the picture: (3, N, H, W), linear light."""
    position = scene.columns["background"]
    top = palettes.along(palettes.BACKGROUND, position)[..., None, None]
    low = palettes.along(palettes.BACKGROUND, position + 0.12)[..., None, None] * 0.55
    down = ((1 - y) * 0.5)[:, None]
    reach = (x * x)[None, :] + ((y - 0.1) ** 2)[:, None]
    glow = 0.8 + 0.32 * steady.decay(reach * 1.3)
    return ((top + (low - top) * down) * glow).transpose(0, 1).contiguous()


def _pool(color: Tensor, s: int) -> Tensor:
    """Mean over s x s blocks of the last two axes, added in a fixed order."""
    total = torch.zeros_like(color[..., ::s, ::s])
    for i in range(s):
        for j in range(s):
            total = total + color[..., i::s, j::s]
    return total * (1 / (s * s))
