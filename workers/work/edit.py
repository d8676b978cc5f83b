"""edit: move latents along a model's directions, once or over a sweep of strengths.

Operations act in the order given. A latent is brought to the space of each direction, and the way goes
one direction only: z, then w and w+, then s. Truncation acts where z becomes w.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from generative.editing.direction import Direction, apply
from generative.spaces import Space, broadcast
from jobs.errors import LimitExceeded, UnknownDirection, UnsupportedByModel
from jobs.schemas import MAX_IMAGES, DirectionOperation, EditInput, EditRequest
from workers.encode import Collage, strip
from workers.images import Pixels
from workers.job import Result, RunningJob
from workers.latents import Latents, known_by_hash, layers_of
from workers.models import LoadedModel
from workers.provenance import provenance
from workers.work import painting
from workers.work.gallery import Gallery, put_png, sized
from workers.work.inversion import Inverted, invert_pictures
from workers.work.invert import put_found, settings_of
from workers.work.latent_output import put_latents
from workers.work.observations import read_images
from workers.work.sources import (
    NoiseSource,
    paint,
    paintable,
    resolve,
    to_ws,
    truncation_of,
    truncation_words,
    with_w,
)

INVERSION_SHARE = 0.9  # of the progress, where pictures are inverted first

Job = RunningJob[EditRequest]


def edit(job: Job) -> Result:
    model, wanted = job.model(), job.request.input
    for operation in wanted.operations:
        _direction(model, operation)  # before anything is computed
    found = _invert(job, model) if wanted.source.images is not None else None
    before = _latents(found) if found else resolve(job, model, wanted.source)
    variants = _variants(job.request.input)
    if len(before) * len(variants) > MAX_IMAGES:
        raise LimitExceeded(f"the sweep makes more than {MAX_IMAGES} pictures")
    edited = [_apply_all(job, model, before, operations) for operations in variants]
    _put(job, model, before, edited, found)
    return {"count": len(before) * len(variants)} | ({"images": found.about} if found else {})


def _variants(wanted: EditInput) -> list[list[DirectionOperation]]:
    """The operations, once for each strength of the sweep."""
    if wanted.sweep is None:
        return [list(wanted.operations)]
    variants = []
    for strength in wanted.sweep.strengths:
        variant = list(wanted.operations)
        swept = variant[wanted.sweep.operation]
        variant[wanted.sweep.operation] = swept.model_copy(update={"strength": strength})
        variants.append(variant)
    return variants


def _direction(model: LoadedModel, operation: DirectionOperation) -> Direction:
    if operation.name not in model.directions:
        raise UnknownDirection(f"The model {model.name!r} has no direction {operation.name!r}.")
    return model.directions[operation.name]


def _invert(job: Job, model: LoadedModel) -> Inverted:
    wanted = job.request.input
    ids = wanted.source.images or ()
    originals = read_images(job, model, ids, wanted.inversion).squares
    found = invert_pictures(
        job, model, originals, wanted.inversion, preview_every=wanted.preview_every, share=INVERSION_SHARE
    )
    about = partial(provenance, job.kind, model.name, model.sha256, settings_of(wanted.inversion, model))
    put_found(
        job, found, [about(image=image, **quality) for image, quality in zip(ids, found.about, strict=True)]
    )
    origins = tuple({"image": image} for image in ids)
    return replace(found, latents=replace(_latents(found), origins=origins))


def _latents(found: Inverted) -> Latents:
    if isinstance(found.latents, dict):
        raise UnsupportedByModel("the codes of multi_code cannot be edited: take another method")
    return found.latents


def _apply_all(
    job: Job, model: LoadedModel, latents: Latents, operations: Sequence[DirectionOperation]
) -> dict[str, Tensor]:
    """The codes of the edited pictures, as `painting.Paint` takes them."""
    for operation in operations:
        direction = _direction(model, operation)
        layers = layers_of(operation.layers, with_w(model.generator).num_ws) if operation.layers else None
        moved = _bring(job, model, latents, direction.space)
        try:
            rows = _move(moved.rows, direction, operation.strength, layers)
        except ValueError as error:
            raise UnsupportedByModel(str(error)) from error
        latents = replace(moved, rows=rows)
    return paintable(job, model, latents, truncation_of(job, model))


def _bring(job: Job, model: LoadedModel, latents: Latents, space: Space) -> Latents:
    """The latents in the space that a direction moves in; for W that is W+, whose layers may be chosen."""
    if space is Space.W:
        space = Space.W_PLUS
    if latents.space is space:
        return latents
    if space is Space.Z:
        raise UnsupportedByModel(f"a direction in z cannot move latents that are in {latents.space}")
    ws = to_ws(job, model, latents, truncation_of(job, model))
    rows = job.forward(model, painting.style_rows, {"ws": ws}) if space is Space.S else ws
    return replace(latents, space=space, rows=rows)


def _move(rows: Tensor, direction: Direction, strength: float, layers: tuple[int, ...] | None) -> Tensor:
    """A distance is measured in W: where all layers agree and all are moved, there is one w to measure."""
    whole = layers is None and direction.layers is None and direction.space is Space.W
    if direction.unit == "distance" and whole and bool((rows == rows[:, :1]).all()):
        return broadcast(apply(rows[:, 0], direction, strength), rows.shape[1])
    return apply(rows, direction, strength, layers)


def _put(
    job: Job, model: LoadedModel, before: Latents, edited: Sequence[dict[str, Tensor]], found: Inverted | None
) -> None:
    """Paint picture by picture, before and after; put out the edits, a strip of each, and the grid."""
    K, space = len(edited), _space_of(edited[0])
    after = {name: torch.stack([code[name] for code in edited], dim=1) for name in edited[0]}  # (N, K, ...)
    _put_latents(job, model, {name: t.flatten(0, 1) for name, t in after.items()})
    start = paintable(job, model, _bring(job, model, before, space), truncation_of(job, model))
    rows = {n: torch.cat([start[n][:, None], t], dim=1).flatten(0, 1) for n, t in after.items()}
    noise = NoiseSource(found={name: t.repeat_interleave(K + 1, dim=0) for name, t in before.noises.items()})
    wall = _Wall(job, model, before, found, K)
    painted = paint(
        job,
        model,
        rows,
        noise,
        truncation_of(job, model),
        tunings=[tuning for tuning in before.tunings for _ in range(K + 1)],
        begin=INVERSION_SHARE if found else 0,
    )
    for at, pixels in enumerate(painted):
        wall.hang(*divmod(at, K + 1), pixels)
    wall.close()


_CODES = {"styles": Space.S, "ws": Space.W_PLUS, "z": Space.Z}


def _space_of(code: dict[str, Tensor]) -> Space:
    return next(space for name, space in _CODES.items() if name in code)


def _put_latents(job: Job, model: LoadedModel, codes: dict[str, Tensor]) -> None:
    """codes: (N K, ...) each."""
    name = next(name for name in _CODES if name in codes)
    put_latents(job, model, codes, known_by_hash(_CODES[name], codes[name]), _about(job, model))


class _Wall:
    """Takes the pictures in order: of each source, the one before, then one for each strength."""

    def __init__(self, job: Job, model: LoadedModel, before: Latents, found: Inverted | None, K: int) -> None:
        self._job, self._model, self._before, self._found, self._K = job, model, before, found, K
        self._gallery = Gallery(job, "edit")
        self._tiles: list[Pixels] = []  # of the picture at hand
        self._collage: Collage | None = None

    def hang(self, index: int, k: int, pixels: Pixels) -> None:
        """Picture `index`: before for k = 0, else edited with strength k - 1."""
        job, K = self._job, self._K
        origin = self._before.origins[index]
        tile = sized(pixels, job.request.output)
        self._collage = self._collage or Collage(len(self._before), K + 1, *tile.shape[:2])
        self._collage.place(index * (K + 1) + k, tile)
        self._tiles.append(tile)
        if k > 0:
            sweep = job.request.input.sweep
            strength = {"strength": sweep.strengths[k - 1]} if sweep else {}
            self._gallery.hang(pixels, _about(job, self._model, **origin, **strength))
        if k == K:
            original = (
                [] if self._found is None else [sized(self._found.originals[index], job.request.output)]
            )
            about = _about(job, self._model, **origin)
            name = f"strip_{index:04d}.png"
            put_png(job, name, strip([*original, *self._tiles]), about, role="strip", index=index)
            self._tiles = []

    def close(self) -> None:
        self._gallery.close()
        wanted = self._job.request.output.grid or self._job.request.input.sweep is not None
        if wanted and self._collage is not None:
            about = _about(self._job, self._model, sources=self._before.origins)
            put_png(self._job, "grid.png", self._collage.pixels, about, role="grid")


def _about(job: Job, model: LoadedModel, **picture: Any) -> dict[str, Any]:
    wanted = job.request.input
    words = {"operations", "sweep", "class_index", *truncation_words(model)}
    shared = wanted.model_dump(mode="json", include=words)
    return provenance(job.kind, model.name, model.sha256, shared, **picture)
