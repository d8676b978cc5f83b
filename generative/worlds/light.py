"""Light on surfaces: soft normals, the head's shadow, and the shading that all materials share.

The light is a sun in the world, under a sky that is bluer above and a floor that is warmer below. Diffuse
light wraps around (as if scattered below the surface), each colour by its own amount, which gives skin its
warm edge of shadow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generative.worlds import steady
from generative.worlds.anatomy import Scene, chin
from generative.worlds.geometry import Vec
from generative.worlds.trace import Spot

SKY, FLOOR, SUN = (0.39, 0.42, 0.47), (0.28, 0.23, 0.21), (0.86, 0.817, 0.7482)
SKIN_WRAP = (0.5, 0.34, 0.28)


def smooth(low: float, high: float, v: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, and a cubic between."""
    t = ((v - low) * (1 / (high - low))).clamp(0, 1)
    return t * t * (3 - 2 * t)


def normal(scene: Scene, spot: Spot, group: str, blend: float) -> Vec:
    """Unit normals (camera) at points of a group, flowing from solid to solid over a width of `blend`.

    Each solid's normal counts with exp(-distance / blend), the distance to its surface to first order; so
    where two surfaces cross, both count the same and no crease is seen.
    """
    members = [solid for solid in scene.solids if solid.group == group]
    frame = scene.frame(members[0]).at(spot.head)
    local = frame.local(spot.point)
    parts = []
    for solid in members:
        radii = solid.radii.at(spot.head)
        q = local.minus(solid.center.at(spot.head)).over(radii)
        gradient = q.over(radii)
        away, steep = q.length(), gradient.length() + 1e-6
        distance = ((away - 1) * away / steep).abs()
        parts.append(gradient.times(steady.decay(distance * (1 / blend)) / steep))
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    return frame.direction(total).unit()


def head_shadow(scene: Scene, spot: Spot) -> Tensor:
    """Share of the light (M,) that passes the head on its way to points below: soft, by its nearest pass."""
    frame = scene.head.at(spot.head)
    center, radii = (v.at(spot.head) for v in chin(scene.columns))
    o = frame.local(spot.point).minus(center).over(radii)
    d = frame.local_direction(scene.light.at(spot.head)).over(radii).unit()
    along = o.dot(d)
    passed = (o.dot(o) - along * along).clamp(min=0).sqrt()
    return torch.where(along < 0.3, smooth(0.55, 1.35, passed), torch.ones_like(passed))


def shade(
    color: Vec,
    normal: Vec,
    light: Vec,
    lit: Tensor | float = 1.0,
    wrap: tuple[float, float, float] = (0.3, 0.3, 0.3),
    gloss: Tensor | float = 0.0,
) -> Vec:
    """Light that leaves a surface of albedo `color` (M,): linear, 1 is white.

    `lit` in [0, 1] is the share of the sun that arrives, `wrap` how far each colour reaches around into the
    shadow, and `gloss` the strength of the highlight.
    """
    facing = normal.dot(light)
    up = normal.y * 0.5 + 0.5
    rim = (1 - normal.z).clamp(0, 1)
    rim = rim * rim * rim * (0.10 * up)
    spark = _highlight(normal, light) * gloss * lit
    out = []
    for albedo, w, sky, floor, sun in zip(color, wrap, SKY, FLOOR, SUN, strict=True):
        diffuse = ((facing + w) * (1 / (1 + w))).clamp(min=0)
        out.append(albedo * (floor + (sky - floor) * up + sun * diffuse * lit + rim) + spark)
    return Vec(*out)


def _highlight(normal: Vec, light: Vec) -> Tensor:
    """Blinn's highlight with exponent 14."""
    half = Vec(light.x, light.y, light.z + 1).unit()
    s = normal.dot(half).clamp(min=0)
    s2 = s * s
    s4 = s2 * s2
    return s4 * s4 * s4 * s2
