"""From factors to pictures, and to the truth about them.

A dense pass finds, for each ray, the nearest solid; a flat pass then shades the pixels of each group of solids, so that
eyes are computed only where there is a face. Normals of neighbouring solids in a group flow into each other (weights fall
off with the distance to each surface), which makes one soft head out of skull, chin, cheeks and nose.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from generative.worlds import palettes, paint
from generative.worlds.anatomy import (
    EYE_X,
    EYE_Y,
    FRAME_HALF,
    GLASSES_Z,
    LENS_RADIUS,
    PARTS,
    Columns,
    Scene,
    Solid,
    build,
    chin,
    skull,
)
from generative.worlds.factors import columns
from generative.worlds.geometry import Camera, Frame, Vec, meet, quadric

LABELS = {name: i for i, name in enumerate(PARTS)}
LENS_PART = 254  # held by no pixel of the label map
RAYS_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 24}


class Rendered(NamedTuple):
    image: Tensor
    parts: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None


class Hits(NamedTuple):
    """What rays met: camera z (N, H, W), number of the solid + 1 (0: nothing), and if the inside of it was met."""

    z: Tensor
    solid: Tensor
    inside: Tensor


class Spot(NamedTuple):
    """Pixels of one group, flat: index into N * H * W, head number, and position in camera coordinates, (M,) each."""

    index: Tensor
    head: Tensor
    point: Vec


class Look(NamedTuple):
    """What the shading of a group gives for its pixels: linear colour, normal (camera), labels, (M,) each."""

    color: Vec
    normal: Vec
    parts: Tensor


def _frame(scene: Scene, solid: Solid) -> Frame:
    return scene.body if solid.body else scene.head


def _rows(c: Columns, rows: Tensor) -> Columns:
    return {name: column[rows] for name, column in c.items()}


def trace(scene: Scene, x: Tensor, y: Tensor) -> Hits:
    """Nearest solid for rays at columns x (W,) and rows y (H,)."""
    shape = (len(scene.columns["yaw"]), len(y), len(x))
    z = torch.full(shape, -math.inf, dtype=x.dtype, device=x.device)
    hits = Hits(z, torch.zeros(shape, dtype=torch.uint8, device=x.device), torch.zeros_like(z, dtype=torch.bool))
    for number, solid in enumerate(scene.solids, start=1):
        frame, center, radii = _frame(scene, solid), solid.center, solid.radii
        if solid.present is None:
            _meet_solid(hits, number, solid, frame, center, radii, scene.columns, x, y)
            continue
        rows = solid.present.nonzero().squeeze(1)
        if len(rows):
            part = Hits(*(field[rows] for field in hits))
            _meet_solid(
                part, number, solid, frame.at(rows), center.at(rows), radii.at(rows), _rows(scene.columns, rows), x, y
            )
            for field, value in zip(hits, part, strict=True):
                field[rows] = value
    return hits


def _meet_solid(
    hits: Hits, number: int, solid: Solid, frame: Frame, center: Vec, radii: Vec, c: Columns, x: Tensor, y: Tensor
) -> None:
    near, far = meet(quadric(frame, center, radii), x, y)
    if solid.cut is None:
        closer = near > hits.z
        torch.maximum(hits.z, near, out=hits.z)
        hits.solid.masked_fill_(closer, number)
        hits.inside.masked_fill_(closer, False)
        return
    for surface, inside in ((near, False), (far, True)):
        index = (surface > hits.z).view(-1).nonzero().squeeze(1)
        spot = _spot(index, surface, x, y)
        local = frame.at(spot.head).local(spot.point)
        kept = index[solid.cut(local, _rows(c, spot.head))]
        hits.z.view(-1)[kept] = surface.view(-1)[kept]
        hits.solid.view(-1)[kept] = number
        hits.inside.view(-1)[kept] = inside


def _spot(index: Tensor, z: Tensor, x: Tensor, y: Tensor) -> Spot:
    width, area = z.shape[2], z.shape[1] * z.shape[2]
    head = index // area
    within = index - head * area
    row = within // width
    return Spot(index, head, Vec(x[within - row * width], y[row], z.view(-1)[index]))


def _group(scene: Scene, hits: Hits, x: Tensor, y: Tensor, group: str) -> Spot:
    found = torch.zeros_like(hits.inside)
    for number, solid in enumerate(scene.solids, start=1):
        if solid.group == group:
            found |= hits.solid == number
    return _spot(found.view(-1).nonzero().squeeze(1), hits.z, x, y)


def _normal(scene: Scene, spot: Spot, group: str, blend: float) -> Vec:
    """Normals (camera) at points of a group, flowing from solid to solid over a width of `blend`."""
    members = [solid for solid in scene.solids if solid.group == group]
    total: Vec | None = None
    frame = _frame(scene, members[0]).at(spot.head)
    local = frame.local(spot.point)
    for solid in members:
        q = local.minus(solid.center.at(spot.head)).over(solid.radii.at(spot.head))
        gradient = q.over(solid.radii.at(spot.head))
        away = q.length()
        # (|q| - 1) |q| / |grad| is the distance to the surface, to first order
        distance = (away - 1) * away / (gradient.length() + 1e-6)
        part = gradient.unit().times((distance.abs() * (-1 / blend)).exp())
        total = part if total is None else total.plus(part)
    assert total is not None
    return frame.direction(total).unit()


def _smooth(low: float, high: float, v: Tensor) -> Tensor:
    t = ((v - low) * (1 / (high - low))).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _head_shadow(scene: Scene, spot: Spot, light: Vec) -> Tensor:
    """How much light (M,) in [0, 1] passes the head on its way to a point below: soft, from the ray's nearest pass."""
    frame = scene.head.at(spot.head)
    center, radii = (v.at(spot.head) for v in chin(scene.columns))
    o = frame.local(spot.point).minus(center).over(radii)
    d = frame.local_direction(light).over(radii).unit()
    along = o.dot(d)
    passed = (o.dot(o) - along * along).clamp(min=0).sqrt()
    return torch.where(along < 0.3, _smooth(0.55, 1.35, passed), torch.ones_like(passed))


def _shade(color: Vec, normal: Vec, light: Vec, lit: Tensor | float, wrap: Vec | float, gloss: Tensor | float) -> Vec:
    """Wrapped diffuse light with a sky-and-floor ambient, a weak rim and a broad highlight; linear light."""
    facing = normal.dot(light)
    wraps = wrap if isinstance(wrap, Vec) else (wrap, wrap, wrap)
    up = normal.y * 0.5 + 0.5
    sky, floor, sun = (0.39, 0.42, 0.47), (0.28, 0.23, 0.21), (1.0, 0.95, 0.87)
    half = Vec(light.x, light.y, light.z + 1).unit()
    spark = normal.dot(half).clamp(min=0) ** 14 * gloss * lit
    rim = (1 - normal.z).clamp(0, 1) ** 3 * (0.10 * up)
    out = []
    for albedo, w, s, f, k in zip(color, wraps, sky, floor, sun, strict=True):
        diffuse = ((facing + w) * (1 / (1 + w))).clamp(min=0)
        out.append(albedo * (f + (s - f) * up + k * 0.86 * diffuse * lit + rim) + spark)
    return Vec(*out)


SKIN_WRAP = (0.5, 0.34, 0.28)


def _skin_color(scene: Scene, head: Tensor) -> Vec:
    return _color(palettes.along(palettes.SKIN, scene.columns["skin_tone"]), head)


def _hair_color(scene: Scene, head: Tensor) -> Vec:
    return _color(palettes.pick(palettes.HAIR, scene.columns["hair_color"]), head)


def _color(table: Tensor, head: Tensor) -> Vec:
    return Vec(*(component[head] for component in table.unbind(1)))


def _look_face(scene: Scene, spot: Spot, edge: float, hits: Hits) -> Look:
    c = _rows(scene.columns, spot.head)
    normal = _normal(scene, spot, "face", 0.022)
    p = scene.head.at(spot.head).local(spot.point)
    solid = hits.solid.view(-1)[spot.index].long()
    table = torch.tensor([0] + [LABELS[s.part] for s in scene.solids], device=solid.device)
    canvas = paint.Canvas(_skin_color(scene, spot.head), table[solid].to(torch.uint8), edge)
    canvas.gloss += 0.07
    iris = _color(palettes.pick(palettes.IRIS, scene.columns["iris_color"]), spot.head)
    paint.face(canvas, p, c, iris, _hair_color(scene, spot.head), LABELS)
    light = scene.light.at(spot.head)
    color = _shade(canvas.color, normal, light, 1.0, Vec(*SKIN_WRAP), canvas.gloss)
    return Look(color, normal, canvas.parts)


def _look_ears(scene: Scene, spot: Spot) -> Look:
    light = scene.light.at(spot.head)
    frame = scene.head.at(spot.head)
    p = frame.local(spot.point)
    normal = _side_normal(scene, spot, "ear")
    w = scene.columns["face_width"][spot.head]
    inner = ((p.y + 0.03) / 0.075) ** 2 + ((p.x.abs() - 0.475 * w - 0.03) / 0.03) ** 2
    color = _skin_color(scene, spot.head)
    shade = (1.2 - inner).clamp(0, 1)
    color = Vec(color.x * (0.98 - 0.3 * shade), color.y * (0.86 - 0.4 * shade), color.z * (0.84 - 0.4 * shade))
    parts = torch.full_like(spot.index, LABELS["ears"], dtype=torch.uint8)
    return Look(_shade(color, normal, light, 1.0, Vec(*SKIN_WRAP), 0.03), normal, parts)


def _side_normal(scene: Scene, spot: Spot, group: str) -> Vec:
    """Normals of mirrored solids, which do not flow into each other: each point takes the one on its own side."""
    return _normal(scene, spot, group, 0.01)


def _look_hair(scene: Scene, spot: Spot, hits: Hits, group: str) -> Look:
    c = _rows(scene.columns, spot.head)
    frame = scene.head.at(spot.head)
    p = frame.local(spot.point)
    inside = hits.inside.view(-1)[spot.index]
    normal = _normal(scene, spot, group, 0.05)
    color = _hair_color(scene, spot.head)
    light = scene.light.at(spot.head)
    center, radii = skull(c)
    q = p.minus(center).over(radii)
    # Strands fall from a parting: bands of equal angle around it, waving with curl
    angle = torch.atan2(q.z + 0.25, q.x - 0.18)
    wave = c["curl"] * (q.y * 7.0).sin() * 0.3
    strand = ((angle + wave) * 13).sin() * 0.6 + ((angle + wave) * 29 + 1.3).sin() * 0.25
    tone = 1 + 0.13 * strand + 0.14 * q.y.clamp(-1, 1)
    # Light runs in a band across the strands, where the normal's height matches the light's
    band = (-((normal.y - 0.25 - 0.35 * light.y) ** 2) * 9).exp() * (normal.dot(light) + 0.35).clamp(0, 1)
    lit = torch.where(inside, 0.12, 1.0)
    if group == "hair":
        lit = lit * (0.35 + 0.65 * _smooth(-0.95, -0.25, p.y).clamp(min=0.35))
    dim = torch.where(inside, 0.45, 1.0)
    shaded = _shade(color.times(tone * dim), normal, light, lit, 0.35, 0.0)
    shine = band * (0.5 + 0.35 * strand) * dim * (0.35 if group == "beard" else 1.0)
    out = Vec(*(s + (0.025 + 0.42 * k) * shine for s, k in zip(shaded, color, strict=True)))
    parts = torch.full_like(spot.index, LABELS[group], dtype=torch.uint8)
    return Look(out, normal, parts)


def _look_neck(scene: Scene, spot: Spot) -> Look:
    light = scene.light.at(spot.head)
    normal = _normal(scene, spot, "neck", 0.05)
    lit = _head_shadow(scene, spot, light)
    color = _skin_color(scene, spot.head)
    below = scene.head.at(spot.head).local(spot.point).y
    dark = 0.5 + 0.5 * _smooth(0.0, 0.34, -0.46 - below)
    color = Vec(color.x * dark, color.y * dark * (0.86 + 0.12 * dark), color.z * dark * (0.82 + 0.15 * dark))
    parts = torch.full_like(spot.index, LABELS["neck"], dtype=torch.uint8)
    return Look(_shade(color, normal, light, lit, Vec(*SKIN_WRAP), 0.02), normal, parts)


def _look_torso(scene: Scene, spot: Spot, edge: float) -> Look:
    c = _rows(scene.columns, spot.head)
    light = scene.light.at(spot.head)
    normal = _normal(scene, spot, "torso", 0.07)
    p = scene.body.at(spot.head).local(spot.point)
    shirt = _color(palettes.along(palettes.SHIRT, scene.columns["shirt_color"]), spot.head)
    parts = torch.full_like(spot.index, LABELS["shirt"], dtype=torch.uint8)
    canvas = paint.Canvas(shirt, parts, edge)
    _neckline(canvas, p, c, _skin_color(scene, spot.head))
    lit = _head_shadow(scene, spot, light)
    near = ((p.x / 0.34) ** 2 + ((p.y + 0.68) / 0.2) ** 2).sqrt()
    canvas.tint((1.5 - near).clamp(0, 1) * 0.8, (0.72, 0.68, 0.68))
    return Look(_shade(canvas.color, normal, light, 0.25 + 0.75 * lit, 0.25, 0.012), normal, canvas.parts)


def _neckline(canvas: paint.Canvas, p: Vec, c: Columns, skin: Vec) -> None:
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


def _look_hat(scene: Scene, spot: Spot, group: str) -> Look:
    light = scene.light.at(spot.head)
    normal = _normal(scene, spot, group, 0.05)
    p = scene.head.at(spot.head).local(spot.point)
    # The cap takes a colour from across the shirts' path
    position = (scene.columns["shirt_color"] + 0.45) % 1.0
    color = _color(palettes.along(palettes.SHIRT, position), spot.head)
    ribs = (torch.atan2(p.z + 0.03, p.x) * 14).sin()
    tone = (0.72 if group == "band" else 1.0) * (1 + 0.1 * ribs)
    parts = torch.full_like(spot.index, LABELS["hat"], dtype=torch.uint8)
    return Look(_shade(color.times(tone), normal, light, 1.0, 0.3, 0.0), normal, parts)


def _look_plain(scene: Scene, spot: Spot, group: str, color: tuple[float, float, float], gloss: float, part: str) -> Look:
    normal = _side_normal(scene, spot, group)
    paint_color = Vec(*(torch.full_like(spot.point.x, k) for k in color))
    shaded = _shade(paint_color, normal, scene.light.at(spot.head), 1.0, 0.2, gloss)
    return Look(shaded, normal, torch.full_like(spot.index, LABELS[part], dtype=torch.uint8))


def _looks(scene: Scene, hits: Hits, x: Tensor, y: Tensor, edge: float) -> list[tuple[Spot, Look]]:
    out = []
    for group in dict.fromkeys(solid.group for solid in scene.solids):
        spot = _group(scene, hits, x, y, group)
        if group == "face":
            look = _look_face(scene, spot, edge, hits)
        elif group == "ear":
            look = _look_ears(scene, spot)
        elif group in ("hair", "beard"):
            look = _look_hair(scene, spot, hits, group)
        elif group == "neck":
            look = _look_neck(scene, spot)
        elif group == "torso":
            look = _look_torso(scene, spot, edge)
        elif group in ("hat", "band"):
            look = _look_hat(scene, spot, group)
        elif group == "earring":
            look = _look_plain(scene, spot, group, (0.85, 0.6, 0.2), 0.7, "earrings")
        else:
            look = _look_plain(scene, spot, group, (0.03, 0.03, 0.035), 0.1, "glasses")
        out.append((spot, look))
    return out


def _background(scene: Scene, x: Tensor, y: Tensor) -> Tensor:
    """A soft gradient with a glow behind the head: (3, N, H, W), linear light."""
    position = scene.columns["background"]
    top = palettes.along(palettes.BACKGROUND, position)
    low = palettes.along(palettes.BACKGROUND, position + 0.12) * 0.55
    down = ((1 - y) * 0.5)[None, :, None]
    reach = (x * x)[None, None, :] + ((y - 0.1) ** 2)[None, :, None]
    glow = 0.8 + 0.32 * (-1.3 * reach).exp()
    planes = [(t[:, None, None] + (b - t)[:, None, None] * down) * glow for t, b in zip(top.unbind(1), low.unbind(1))]
    return torch.stack(planes)


def _glasses(scene: Scene, hits: Hits, x: Tensor, y: Tensor, color: Tensor, parts: Tensor, edge: float) -> None:
    """Two rings, a bridge and clear lenses on a plane before the face, drawn over the finished colours."""
    rows = scene.columns["glasses"].nonzero().squeeze(1)
    if not len(rows):
        return
    head = scene.head.at(rows)
    cell = Vec(*(v[:, None, None] for v in head.origin))
    ez = Vec(*(v[:, None, None] for v in head.ez))
    dx, dy = x[None, None, :] - cell.x, y[None, :, None] - cell.y
    z = (GLASSES_Z - ez.x * dx - ez.y * dy) / ez.z.clamp(min=0.05)
    near = (z + cell.z > hits.z[rows]) & (ez.z > 0.05)
    index = near.view(-1).nonzero().squeeze(1)
    area, width = near.shape[1] * near.shape[2], near.shape[2]
    k = index // area
    within = index - k * area
    row = within // width
    offset = Vec(x[within - row * width] - head.origin.x[k], y[row] - head.origin.y[k], z.view(-1)[index])
    frame = head.at(k)
    u, v = frame.ex.dot(offset), frame.ey.dot(offset) - EYE_Y
    lens = (((u.abs() - EYE_X - 0.012) / 1.06) ** 2 + (v + 0.012) ** 2).sqrt() - LENS_RADIUS
    bridge = torch.maximum((v - 0.03 + 0.8 * u * u).abs() - 0.02, u.abs() - 0.06)
    hinge = torch.maximum((v - 0.02).abs() - 0.022, (u.abs() - 0.38).abs() - 0.035)
    rim = torch.minimum(torch.minimum(lens.abs() - FRAME_HALF, bridge), hinge)
    target = rows[k] * area + within
    flat = color.view(3, -1)
    glass = (0.5 - lens / max(edge, 0.02)).clamp(0, 1)
    streak = (1 - ((u.abs() - EYE_X + v * 0.8 + 0.05) / 0.05) ** 2).clamp(0, 1) * 0.5 + 0.5
    cover = (0.5 - rim / max(edge, 0.01)).clamp(0, 1)
    for plane, tone, dark in zip(flat, (0.80, 0.86, 0.92), (0.022, 0.02, 0.026), strict=True):
        value = plane[target]
        value = value + (tone - value) * (0.09 * glass * streak)
        plane[target] = value + (dark + 0.05 * (v + 0.1).clamp(min=0) - value) * cover
    parts.view(-1)[target[cover > 0.5]] = LABELS["glasses"]


def _pool(v: Tensor, s: int) -> Tensor:
    """Mean over s x s blocks of the last two axes, added in a fixed order."""
    total = sum(v[..., i::s, j::s] for i in range(s) for j in range(s))
    return total * (1 / (s * s))  # type: ignore[operator]


def _chunk(factors: Tensor, size: int, supersample: int, camera: Camera) -> Tensor:
    n = size * supersample
    grid = (torch.arange(n, dtype=factors.dtype, device=factors.device) + 0.5) * (2 / n) - 1
    x, y = grid * camera.half_height, -grid * camera.half_height
    scene = build(columns(factors), camera)
    edge = max(2.0 * camera.half_height / size * 0.6, 0.008)
    hits = trace(scene, x, y)
    color = _background(scene, grid, -grid)
    parts = torch.zeros_like(hits.solid)
    for spot, look in _looks(scene, hits, x, y, edge):
        for plane, value in zip(color.view(3, -1), look.color, strict=True):
            plane[spot.index] = value
        parts.view(-1)[spot.index] = look.parts
    _glasses(scene, hits, x, y, color, parts, edge)
    small = _pool(color, supersample).clamp(0, 1)
    image = (small + 1e-7) ** (1 / palettes.GAMMA) * 2 - 1
    return image.clamp(-1, 1).transpose(0, 1).contiguous()


def render(factors: Tensor, size: int = 64, supersample: int = 2, camera: Camera | None = None) -> Rendered:
    camera = camera or Camera()
    at_once = max(1, RAYS_AT_ONCE.get(factors.device.type, 1 << 20) // (size * supersample) ** 2)
    return Rendered(torch.cat([_chunk(f, size, supersample, camera) for f in factors.split(at_once)]))
