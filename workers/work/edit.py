"""edit: operations on latents and features, once or over a sweep of strengths.

Operations act in the order given (`workers.work.edits`). Latents go one direction only: z, then w and w+,
then s. Truncation acts where z becomes w.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from generative.spaces import Space
from jobs.editing import DirectionOperation, EditInput
from jobs.errors import LimitExceeded, UnsupportedByModel
from jobs.words import MAX_IMAGES
from workers.encode import Collage, strip
from workers.images import Pixels
from workers.job import Result
from workers.latents import Latents, known_by_hash
from workers.models import LoadedModel
from workers.provenance import provenance
from workers.work.edits import acting
from workers.work.edits.bench import Bench, Job
from workers.work.edits.columns import painted
from workers.work.edits.draft import Draft
from workers.work.edits.measuring import Measuring
from workers.work.gallery import Gallery, put_png, sized
from workers.work.inversion import Inverted, invert_pictures
from workers.work.invert import difference, put_found, settings_of
from workers.work.latent_output import put_latents
from workers.work.observations import read_images
from workers.work.sources import resolve, truncation_words

INVERSION_SHARE = 0.9  # of the progress, where pictures are inverted first


def edit(job: Job) -> Result:
    model, wanted = job.model(), job.request.input
    _refuse_unknown(model, wanted)  # before anything is computed
    found = _invert(job, model) if wanted.source.images is not None else None
    before = _latents(found) if found else resolve(job, model, wanted.source)
    count = len(before) * (len(wanted.sweep.strengths) if wanted.sweep else 1)
    if count > MAX_IMAGES:
        raise LimitExceeded(f"the sweep makes more than {MAX_IMAGES} pictures")
    bench = Bench(job, model, before)
    drafts = _drafts(bench, wanted)
    _put_latents(bench, drafts)
    changes = _paint(bench, drafts, found)
    result: dict[str, Any] = {"count": count}
    return result | ({"images": found.about} if found else {}) | ({"changes": changes} if changes else {})


def _refuse_unknown(model: LoadedModel, wanted: EditInput) -> None:
    for operation in wanted.everything():
        if isinstance(operation, DirectionOperation):
            for name in (operation.name, *operation.keep):
                if name is not None:
                    model.direction(name)


def _drafts(bench: Bench, wanted: EditInput) -> list[Draft]:
    """One for each variant; what comes before the swept operation acts once."""
    shared = wanted.sweep.operation if wanted.sweep else 0
    start = acting.apply(bench, Draft((bench.before,), bench.model), wanted.operations[:shared])
    return [acting.apply(bench, start, variant[shared:]) for variant in wanted.variants()]


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


def _put_latents(bench: Bench, drafts: Sequence[Draft]) -> None:
    """Of all edits, those of one source one after the other. What touches features is not in them."""
    if bench.job.request.output.latents == "none":
        return
    if bench.before.features:
        raise UnsupportedByModel("output.latents: maps of features are not put out")
    codes = [bench.code(draft.codes[0], draft.painter) for draft in drafts]
    rows = {name: torch.stack([code[name] for code in codes], dim=1).flatten(0, 1) for name in codes[0]}
    space, tensor = next((s, rows[name]) for name, s in _CODES.items() if name in rows)
    put_latents(bench.job, bench.model, rows, known_by_hash(space, tensor), _about(bench.job, bench.model))


_CODES = {"styles": Space.S, "ws": Space.W_PLUS, "z": Space.Z}


def _paint(bench: Bench, drafts: Sequence[Draft], found: Inverted | None) -> list[dict[str, Any]]:
    """Before and after, picture by picture -> what is said of each variant."""
    job, sweep = bench.job, bench.job.request.input.sweep
    columns = [bench.column_before(), *(bench.column(draft) for draft in drafts)]
    measuring = Measuring(job, bench.model, [bench.where(draft) for draft in drafts])
    wall = _Wall(bench, found, len(drafts))
    for first, pictures in painted(job, columns, bench.before.tunings, INVERSION_SHARE if found else 0):
        abouts = measuring.take_in(first, pictures)
        for i, before in enumerate(pictures[0]):
            edited = [(column[i], said[i]) for column, said in zip(pictures[1:], abouts, strict=True)]
            wall.hang(first + i, before, edited)
    wall.close()
    return measuring.result(sweep.strengths if sweep else [None])


class _Wall:
    """Takes source by source the picture before, and one for each variant."""

    def __init__(self, bench: Bench, found: Inverted | None, K: int) -> None:
        self._job, self._model, self._found, self._K = bench.job, bench.model, found, K
        self._origins = bench.before.origins
        self._show, self._sweep = bench.job.request.input.show, bench.job.request.input.sweep
        self._gallery = Gallery(bench.job, "edit")
        self._collage: Collage | None = None

    def hang(self, index: int, before: Pixels, edited: Sequence[tuple[Pixels, dict[str, Any]]]) -> None:
        output, origin = self._job.request.output, self._origins[index]
        about = _about(self._job, self._model, **origin)
        if "before" in self._show:
            self._put("before", index, sized(before, output), about)
        for k, (pixels, said) in enumerate(edited):
            strength = {"strength": self._sweep.strengths[k]} if self._sweep else {}
            own = _about(self._job, self._model, **origin, **strength, **said)
            self._gallery.hang(pixels, own)
            if "change" in self._show:
                gap = sized(difference(before, pixels), output)
                self._put("change", index * self._K + k, gap, own)
        tiles = [sized(pixels, output) for pixels in (before, *(pixels for pixels, _ in edited))]
        self._collect(index, tiles)
        if "strip" in self._show:
            original = [] if self._found is None else [sized(self._found.originals[index], output)]
            self._put("strip", index, strip([*original, *tiles]), about)

    def _put(self, role: str, index: int, pixels: Pixels, about: dict[str, Any]) -> None:
        put_png(self._job, f"{role}_{index:04d}.png", pixels, about, role=role, index=index)

    def _collect(self, index: int, tiles: Sequence[Pixels]) -> None:
        """For the grid, where one is wanted."""
        if not (self._job.request.output.grid or self._sweep):
            return
        count = len(self._origins)
        self._collage = self._collage or Collage(count, len(tiles), *tiles[0].shape[:2])
        for k, tile in enumerate(tiles):
            self._collage.place(index * len(tiles) + k, tile)

    def close(self) -> None:
        self._gallery.close()
        if self._collage is not None:
            about = _about(self._job, self._model, sources=self._origins)
            put_png(self._job, "grid.png", self._collage.pixels, about, role="grid")


def _about(job: Job, model: LoadedModel, **picture: Any) -> dict[str, Any]:
    wanted = job.request.input
    words = {"operations", "sweep", "class_index", *truncation_words(model)}
    shared = wanted.model_dump(mode="json", include=words)
    return provenance(job.kind, model.name, model.sha256, shared, **picture)
