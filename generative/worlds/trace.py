"""Rays meet solids: the dense pass that finds what each ray sees, and flat lists of pixels by group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from generative.worlds.anatomy import Columns, Scene, Solid
from generative.worlds.geometry import Frame, Vec, meet, quadric


class Hits(NamedTuple):
    """What rays met: camera z (N, H, W), number of the solid + 1 (0: nothing), and if its inside was met."""

    z: Tensor
    solid: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Spot:
    """Pixels, flat: index into N * H * W, head number, and position in camera coordinates, (M,) each."""

    index: Tensor
    head: Tensor
    point: Vec


def rows_of(columns: Columns, rows: Tensor) -> Columns:
    """Factor columns (N,) as (M,), one for each entry of `rows`."""
    return {name: column[rows] for name, column in columns.items()}


def trace(scene: Scene, x: Tensor, y: Tensor) -> Hits:
    """Nearest solid for rays at columns x (W,) and rows y (H,)."""
    shape = (len(scene.columns["yaw"]), len(y), len(x))
    z = torch.full(shape, -math.inf, dtype=x.dtype, device=x.device)
    hits = Hits(z, torch.zeros_like(z, dtype=torch.uint8), torch.zeros_like(z, dtype=torch.bool))
    for number, solid in enumerate(scene.solids, start=1):
        frame = scene.frame(solid)
        if solid.present is None:
            _meet_solid(hits, number, solid, frame, scene.columns, x, y)
            continue
        # Rays of portraits without it are not tried.
        rows = solid.present.nonzero().squeeze(1)
        if len(rows):
            part = Hits(*(field[rows] for field in hits))
            _meet_solid(part, number, solid.at(rows), frame.at(rows), rows_of(scene.columns, rows), x, y)
            for field, value in zip(hits, part, strict=True):
                field[rows] = value
    return hits


def _meet_solid(
    hits: Hits, number: int, solid: Solid, frame: Frame, c: Columns, x: Tensor, y: Tensor
) -> None:
    """Enter one solid of each portrait into `hits`, where it is nearer than what is there."""
    near, far = meet(quadric(frame, solid.center, solid.radii), x, y)
    if solid.cut is None:
        closer = near > hits.z
        torch.maximum(hits.z, near, out=hits.z)
        hits.solid.masked_fill_(closer, number)
        hits.inside.masked_fill_(closer, False)
        return
    for surface, inside in ((near, False), (far, True)):
        spot = spot_at((surface > hits.z).view(-1).nonzero().squeeze(1), surface, x, y)
        local = frame.at(spot.head).local(spot.point)
        kept = spot.index[solid.cut(local, rows_of(c, spot.head))]
        hits.z.view(-1)[kept] = surface.view(-1)[kept]
        hits.solid.view(-1)[kept] = number
        hits.inside.view(-1)[kept] = inside


def spot_at(index: Tensor, z: Tensor, x: Tensor, y: Tensor) -> Spot:
    """The pixels `index` (M,) of a map z (N, H, W) of camera z."""
    width, area = z.shape[2], z.shape[1] * z.shape[2]
    head = index // area
    within = index - head * area
    row = within // width
    return Spot(index, head, Vec(x[within - row * width], y[row], z.view(-1)[index]))


def spot_of(scene: Scene, hits: Hits, x: Tensor, y: Tensor, group: str) -> Spot:
    """All pixels that show a group of solids (which stand together in the list of solids)."""
    numbers = [number for number, solid in enumerate(scene.solids, start=1) if solid.group == group]
    found = (hits.solid >= numbers[0]) & (hits.solid <= numbers[-1])
    return spot_at(found.view(-1).nonzero().squeeze(1), hits.z, x, y)


def part_table(scene: Scene, labels: dict[str, int], device: torch.device) -> Tensor:
    """Label (uint8) of each number in `Hits.solid`."""
    numbers = [0] + [labels[solid.part] for solid in scene.solids]
    return torch.tensor(numbers, dtype=torch.uint8, device=device)
