"""The front of glasses: two rings, a bridge, hinges and clear lenses, on a plane before the face."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from generative.worlds.anatomy import EYE_X, EYE_Y, Scene
from generative.worlds.geometry import Vec
from generative.worlds.trace import Hits, Spot, spot_at

LENS_RADIUS, RIM_HALF, PLANE_Z = 0.148, 0.026, 0.5
LENS_X, LENS_Y, LENS_STRETCH = EYE_X + 0.012, -0.012, 1.06
GLASS, RIM = (0.80, 0.86, 0.92), (0.022, 0.02, 0.026)


@dataclass(frozen=True)
class Spectacles:
    """Pixels before which the plane lies, and how much of each is rim and lens, (M,) each in [0, 1]."""

    spot: Spot
    normal: Vec
    rim: Tensor
    glass: Tensor
    sheen: Tensor


def spectacles(scene: Scene, hits: Hits, x: Tensor, y: Tensor, edge: float) -> Spectacles | None:
    """Glasses as the rays (x, y) see them, or None if nobody wears any or they are seen from behind."""
    rows = scene.columns["glasses"].nonzero().squeeze(1)
    if not len(rows):
        return None
    spot = _on_plane(scene, rows, hits, x, y)
    frame = scene.head.at(spot.head)
    local = frame.local(spot.point)
    ax, v = local.x.abs(), local.y - EYE_Y
    lens = (((ax - LENS_X) / LENS_STRETCH) ** 2 + (v - LENS_Y) ** 2).sqrt() - LENS_RADIUS
    bridge = ((v - 0.03 + 0.8 * ax * ax).abs() - 0.02).maximum(ax - 0.06)
    hinge = ((v - 0.02).abs() - 0.022).maximum((ax - 0.38).abs() - 0.035)
    rim = (lens.abs() - RIM_HALF).minimum(bridge).minimum(hinge)
    streak = (1 - ((ax - EYE_X + v * 0.8 + 0.05) / 0.05) ** 2).clamp(0, 1)
    glass = (0.5 - lens / max(edge, 0.02)).clamp(0, 1) * (0.5 + 0.5 * streak)
    sheen = 0.05 * (v + 0.1).clamp(min=0)
    return Spectacles(spot, frame.ez, (0.5 - rim / max(edge, 0.01)).clamp(0, 1), glass, sheen)


def _on_plane(scene: Scene, rows: Tensor, hits: Hits, x: Tensor, y: Tensor) -> Spot:
    """Where rays of the portraits `rows` meet the plane before anything else."""
    head = scene.head.at(rows)
    ez, origin = (Vec(*(v[:, None, None] for v in part)) for part in (head.ez, head.origin))
    dx, dy = x[None, None, :] - origin.x, y[None, :, None] - origin.y
    z = (PLANE_Z - ez.x * dx - ez.y * dy) / ez.z.clamp(min=0.05) + origin.z
    near = (z > hits.z[rows]) & (ez.z > 0.05)
    spot = spot_at(near.view(-1).nonzero().squeeze(1), z, x, y)
    area = z.shape[1] * z.shape[2]
    number = rows[spot.head]
    return Spot(spot.index + (number - spot.head) * area, number, spot.point)


def wear(color: Tensor, worn: Spectacles) -> None:
    """Draw over finished linear colours (3, N, H, W), in place."""
    for plane, glass, rim in zip(color.view(3, -1), GLASS, RIM, strict=True):
        value = plane[worn.spot.index]
        value = value + (glass - value) * (0.09 * worn.glass)
        plane[worn.spot.index] = value + (rim + worn.sheen - value) * worn.rim
