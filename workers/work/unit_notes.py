"""What is said of dissected layers: a table, a plot of what their units go with, and pictures of the best.

A picture has a row for each part: the part's best unit, in the pictures where it is strongest, which are dark
where it is off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from generative.discovery.dissection import IOU_REPORTED, enlarge
from generative.editing.unit_table import UnitTable
from jobs.schemas import DirectionsRequest
from workers import encode, plots
from workers.images import to_pixels
from workers.job import RunningJob
from workers.models import LoadedModel
from workers.provenance import provenance
from workers.work.direction_notes import Notes, put_text, small
from workers.work.discovery.features import PICTURES, Features
from workers.work.gallery import put_png, sized

Job = RunningJob[DirectionsRequest]
ROWS, COLUMNS = 8, 6  # parts, and pictures of each, that are shown
DIM = 0.25  # of the light is left where a unit is off


@dataclass(frozen=True)
class Stage:
    """Where units can be watched: codes in pieces, the operation that sees layers, and each layer's peaks
    (N, U).
    """

    codes: Sequence[dict[str, Tensor]]
    op: Features
    peaks: Sequence[Tensor]

    def rows(self, pictures: Tensor) -> dict[str, Tensor]:
        """The codes of some pictures, by their numbers."""
        return {name: torch.cat([some[name] for some in self.codes])[pictures] for name in self.codes[0]}


def take_unit_notes(
    job: Job, model: LoadedModel, tables: Sequence[UnitTable], stage: Stage
) -> list[Notes[UnitTable]]:
    """Put out `directions.md`, `units.png`, and for each layer `units_0000.png`."""
    notes = []
    counts = {table.layer: _counted(table) for table in tables}
    title = f"units with an IoU above {IOU_REPORTED:g}"
    job.outbox.put(
        "units.png",
        partial(plots.part_bars, counts, title),
        role="plot",
        media_type=encode.MEDIA_TYPES["png"],
    )
    for i, (table, peaks) in enumerate(zip(tables, stage.peaks, strict=True)):
        words = job.request.input.model_dump(mode="json", exclude_none=True)
        about = provenance(job.kind, model.name, model.sha256, words, units=table.name)
        masks = _masks(job, model, table, peaks, stage)
        put_png(job, f"units_{i:04d}.png", masks, about, role="units", index=i)
        entry = {"name": table.name, "effects": table.effects}
        notes.append(Notes(table, entry, small(masks)))
    put_text(job, [line for table in tables for line in _report(table)])
    return notes


def _counted(table: UnitTable) -> dict[str, int]:
    """By part, how many units go with it more than with any other."""
    best = table.iou.argmax(dim=0)
    clear = table.iou.amax(dim=0) > IOU_REPORTED
    return {part: int(((best == p) & clear).sum()) for p, part in enumerate(table.parts)}


def _report(table: UnitTable) -> list[str]:
    counts = _counted(table)
    lines = [
        f"# {table.name}: units of {table.layer}",
        "",
        f"{table.description}.",
        "",
        "| part | units | best unit | its IoU | turned off | pixels lost |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for p, part in enumerate(table.parts):
        best, effect = int(table.ranked(part)[0]), table.effects[part]
        score = float(table.iou[p, best])
        lost = f"{effect['lost']:.0%}"
        lines.append(f"| {part} | {counts[part]} | {best} | {score:.3f} | {effect['units']:g} | {lost} |")
    return [*lines, ""]


def _masks(job: Job, model: LoadedModel, table: UnitTable, peaks: Tensor, stage: Stage) -> encode.Pixels:
    ranked = sorted(table.parts, key=lambda part: -float(table.iou[table.parts.index(part)].max()))[:ROWS]
    tiles = []
    for part in ranked:
        unit = int(table.ranked(part)[0])
        pictures = peaks[:, unit].topk(min(COLUMNS, len(peaks))).indices
        seen = job.forward(model, stage.op, stage.rows(pictures))
        pixels = to_pixels(seen[PICTURES])
        large = enlarge(seen[table.layer][:, unit : unit + 1], (pixels.shape[1], pixels.shape[2]))
        on = (large[:, 0] > table.levels[unit]).numpy()[..., None]
        tiles += [
            sized(tile, job.request.output) for tile in np.where(on, pixels, pixels * DIM).astype(np.uint8)
        ]
    collage = encode.Collage(len(ranked), len(tiles) // len(ranked), *tiles[0].shape[:2])
    for at, tile in enumerate(tiles):
        collage.place(at, tile)
    return collage.pixels
