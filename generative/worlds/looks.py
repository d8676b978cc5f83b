"""How each group of solids looks: its material, painted and lit, for the pixels that show it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from generative.worlds import paint, palettes, steady
from generative.worlds.anatomy import LABELS, Columns, Scene, skull
from generative.worlds.geometry import Vec
from generative.worlds.light import SKIN_WRAP, head_shadow, normal, shade, smooth
from generative.worlds.trace import Hits, Spot, part_table, rows_of, spot_of


class Look(NamedTuple):
    """Linear colour, normal (camera) and label of a group's pixels, (M,) each."""

    color: Vec
    normal: Vec
    parts: Tensor


class View(NamedTuple):
    """A traced scene: rays at columns x (W,) and rows y (H,), softness of painted edges in world units."""

    scene: Scene
    hits: Hits
    x: Tensor
    y: Tensor
    edge: float


def looks(view: View) -> list[tuple[Spot, Look]]:
    """Every pixel that shows a solid, shaded; no pixel twice."""
    out = []
    for group, look in LOOKS.items():
        spot = spot_of(view.scene, view.hits, view.x, view.y, group)
        if len(spot.index):
            out.append((spot, look(view, spot)))
    return out


def _skin(scene: Scene, head: Tensor) -> Vec:
    return _spread(palettes.along(palettes.SKIN, scene.columns["skin_tone"]), head)


def _hair(scene: Scene, head: Tensor) -> Vec:
    return _spread(palettes.pick(palettes.HAIR, scene.columns["hair_color"]), head)


def _spread(table: Tensor, head: Tensor) -> Vec:
    """Colours (N, 3) of the portraits as (M,) components, one for each pixel."""
    return Vec(*(component[head] for component in table.unbind(1)))


def _label(spot: Spot, part: str) -> Tensor:
    return torch.full_like(spot.index, LABELS[part], dtype=torch.uint8)


def _face(view: View, spot: Spot) -> Look:
    scene = view.scene
    p = scene.head.at(spot.head).local(spot.point)
    parts = part_table(scene, LABELS, p.x.device)[view.hits.solid.view(-1)[spot.index].long()]
    canvas = paint.Canvas(_skin(scene, spot.head), parts, view.edge)
    canvas.gloss += 0.07
    iris = _spread(palettes.pick(palettes.IRIS, scene.columns["iris_color"]), spot.head)
    paint.face(canvas, p, rows_of(scene.columns, spot.head), iris, _hair(scene, spot.head))
    n = normal(scene, spot, "face", 0.022)
    color = shade(canvas.color, n, scene.light.at(spot.head), wrap=SKIN_WRAP, gloss=canvas.gloss)
    return Look(color, n, canvas.parts)


def _ears(view: View, spot: Spot) -> Look:
    scene = view.scene
    p = scene.head.at(spot.head).local(spot.point)
    w = scene.columns["face_width"][spot.head]
    inner = ((p.y + 0.03) / 0.075) ** 2 + ((p.x.abs() - 0.475 * w - 0.03) / 0.03) ** 2
    s = (1.2 - inner).clamp(0, 1)
    skin = _skin(scene, spot.head)
    color = Vec(skin.x * (0.98 - 0.3 * s), skin.y * (0.86 - 0.4 * s), skin.z * (0.84 - 0.4 * s))
    n = normal(scene, spot, "ears", 0.01)
    lit = shade(color, n, scene.light.at(spot.head), wrap=SKIN_WRAP, gloss=0.03)
    return Look(lit, n, _label(spot, "ears"))


def _strands(p: Vec, c: Columns) -> tuple[Tensor, Tensor]:
    """Height on the skull, and light and dark of strands in [-1, 1].

    Strands fall from a parting: bands of equal angle around it, which curl makes wave.
    """
    center, radii = skull(c)
    q = p.minus(center).over(radii)
    angle = steady.atan2(q.z + 0.25, q.x - 0.18) + c["curl"] * steady.sin(q.y * 7.0) * 0.3
    return q.y.clamp(-1, 1), steady.sin(angle * 13) * 0.6 + steady.sin(angle * 29 + 1.3) * 0.25


def _tresses(view: View, spot: Spot, part: str, shine: float, lit: Tensor | float) -> Look:
    scene = view.scene
    light = scene.light.at(spot.head)
    p = scene.head.at(spot.head).local(spot.point)
    inside = view.hits.inside.view(-1)[spot.index]
    n = normal(scene, spot, part, 0.05)
    height, strand = _strands(p, rows_of(scene.columns, spot.head))
    color = _hair(scene, spot.head)
    dim = torch.where(inside, 0.45, 1.0)
    toned = color.times((1 + 0.13 * strand + 0.14 * height) * dim)
    lit = torch.where(inside, 0.12, 1.0) * lit
    shaded = shade(toned, n, light, lit, wrap=(0.35, 0.35, 0.35))
    # Light runs in a band across the strands, where the normal's height matches the light's.
    off = n.y - 0.25 - 0.35 * light.y
    band = steady.decay(off * off * 9) * (n.dot(light) + 0.35).clamp(0, 1)
    gleam = band * (0.5 + 0.35 * strand) * dim * shine
    out = Vec(*(s + (0.025 + 0.42 * k) * gleam for s, k in zip(shaded, color, strict=True)))
    return Look(out, n, _label(spot, part))


def _hair_look(view: View, spot: Spot) -> Look:
    y = view.scene.head.at(spot.head).local(spot.point).y
    return _tresses(view, spot, "hair", 1.0, 0.35 + 0.65 * smooth(-0.95, -0.25, y).clamp(min=0.35))


def _beard(view: View, spot: Spot) -> Look:
    return _tresses(view, spot, "beard", 0.35, 1.0)


def _neck(view: View, spot: Spot) -> Look:
    scene = view.scene
    n = normal(scene, spot, "neck", 0.05)
    # Close under the chin the sky is hidden too; what light is left is red from skin.
    below = scene.head.at(spot.head).local(spot.point).y
    dark = 0.5 + 0.5 * smooth(0.0, 0.34, -0.46 - below)
    skin = _skin(scene, spot.head)
    color = Vec(skin.x * dark, skin.y * dark * (0.86 + 0.12 * dark), skin.z * dark * (0.82 + 0.15 * dark))
    lit = shade(color, n, scene.light.at(spot.head), head_shadow(scene, spot), SKIN_WRAP, 0.02)
    return Look(lit, n, _label(spot, "neck"))


def _torso(view: View, spot: Spot) -> Look:
    scene = view.scene
    p = scene.body.at(spot.head).local(spot.point)
    shirt = _spread(palettes.along(palettes.SHIRT, scene.columns["shirt_color"]), spot.head)
    canvas = paint.Canvas(shirt, _label(spot, "shirt"), view.edge)
    paint.neckline(canvas, p, rows_of(scene.columns, spot.head), _skin(scene, spot.head))
    near = ((p.x / 0.34) ** 2 + ((p.y + 0.68) / 0.2) ** 2).sqrt()
    canvas.tint((1.5 - near).clamp(0, 1) * 0.8, (0.72, 0.68, 0.68))
    n = normal(scene, spot, "torso", 0.07)
    lit = 0.25 + 0.75 * head_shadow(scene, spot)
    color = shade(canvas.color, n, scene.light.at(spot.head), lit, (0.25, 0.25, 0.25), 0.012)
    return Look(color, n, canvas.parts)


def _knitted(view: View, spot: Spot, group: str, tone: float) -> Look:
    scene = view.scene
    p = scene.head.at(spot.head).local(spot.point)
    # The cap takes its colour from across the shirts' path.
    position = scene.columns["shirt_color"] + 0.45
    position = torch.where(position >= 1, position - 1, position)
    color = _spread(palettes.along(palettes.SHIRT, position), spot.head)
    ribs = steady.sin(steady.atan2(p.z + 0.03, p.x) * 14)
    n = normal(scene, spot, group, 0.05)
    shaded = shade(color.times(tone * (1 + 0.1 * ribs)), n, scene.light.at(spot.head))
    return Look(shaded, n, _label(spot, "hat"))


def _hat(view: View, spot: Spot) -> Look:
    return _knitted(view, spot, "hat", 1.0)


def _band(view: View, spot: Spot) -> Look:
    return _knitted(view, spot, "band", 0.72)


def _plain(
    view: View, spot: Spot, group: str, part: str, color: tuple[float, float, float], gloss: float
) -> Look:
    n = normal(view.scene, spot, group, 0.01)
    albedo = Vec(*(torch.full_like(n.x, k) for k in color))
    light = view.scene.light.at(spot.head)
    return Look(shade(albedo, n, light, wrap=(0.2, 0.2, 0.2), gloss=gloss), n, _label(spot, part))


def _earrings(view: View, spot: Spot) -> Look:
    return _plain(view, spot, "earrings", "earrings", (0.85, 0.6, 0.2), 0.7)


def _arms(view: View, spot: Spot) -> Look:
    return _plain(view, spot, "arms", "glasses", (0.03, 0.03, 0.035), 0.1)


LOOKS: dict[str, Callable[[View, Spot], Look]] = {
    "face": _face,
    "ears": _ears,
    "hair": _hair_look,
    "beard": _beard,
    "neck": _neck,
    "torso": _torso,
    "hat": _hat,
    "band": _band,
    "earrings": _earrings,
    "arms": _arms,
}
