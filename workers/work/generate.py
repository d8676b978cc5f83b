"""generate: pictures from seeds, latents or an earlier job; style mixing grids; interpolation films."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from generative.spaces import Space, lerp, mix_styles, slerp
from jobs.errors import BadRequest, UnsupportedByModel
from jobs.schemas import GenerateRequest, Interpolate, Mixing
from workers import encode
from workers.encode import Collage
from workers.images import Pixels
from workers.job import Result, RunningJob
from workers.latents import Latents, known_by_hash, layers_of
from workers.models import LoadedModel
from workers.provenance import provenance, to_text
from workers.work.gallery import Gallery, brief, put_png, sized
from workers.work.latent_output import put_latents
from workers.work.sources import (
    Identity,
    NoiseSource,
    from_seeds,
    identities,
    paint,
    paintable,
    resolve,
    to_ws,
    truncation_of,
    truncation_words,
    untuned,
)

Job = RunningJob[GenerateRequest]
Between = Callable[[Tensor, Tensor, Tensor], Tensor]  # a (...), b (...), t (T,) in [0, 1] -> (T, ...)


def generate(job: Job) -> Result:
    wanted, model = job.request.input, job.model()
    if wanted.mixing is not None:
        return _mixing(job, model, wanted.mixing)
    latents = resolve(job, model, wanted.source)
    if wanted.interpolate is not None:
        return _film(job, model, latents, wanted.interpolate)
    return _pictures(job, model, latents)


def _pictures(job: Job, model: LoadedModel, latents: Latents) -> Result:
    mapped = job.request.output.latents not in ("none", "z")
    inputs = paintable(job, model, latents, truncation_of(job, model), mapped=mapped)
    put_latents(job, model, inputs, latents, _about(job, model))
    gallery = Gallery(job, "image")
    collage: Collage | None = None
    who = identities(latents.origins)
    noise = _noise(job, who, latents.noises)
    for index, pixels in enumerate(_paint(job, model, inputs, noise, latents.tunings)):
        gallery.hang(pixels, _about(job, model, **latents.origins[index], **_repeat(job, who[index])))
        if job.request.output.grid:
            tile = sized(pixels, job.request.output)
            collage = collage or Collage.squarish(len(latents), *tile.shape[:2])
            collage.place(index, tile)
    gallery.close()
    if collage is not None:
        put_png(job, "grid.png", collage.pixels, _about(job, model, sources=latents.origins), role="grid")
    return {"count": len(latents)}


def _mixing(job: Job, model: LoadedModel, mixing: Mixing) -> Result:
    """Every pair, row by row. The grid also shows the row sources at its left, the column sources on top."""
    R, C = len(mixing.rows), len(mixing.columns)
    sources = from_seeds((*mixing.rows, *mixing.columns), model.generator)
    ws = to_ws(job, model, sources, truncation_of(job, model))
    mixed = mix_styles(ws[:R], ws[R:], layers_of(mixing.layers, ws.shape[1])).flatten(0, 1)
    put_latents(job, model, {"ws": mixed}, known_by_hash(Space.W_PLUS, mixed), _about(job, model))
    cells = [(r + 1) * (C + 1) for r in range(R)] + [c + 1 for c in range(C)]
    cells += [(r + 1) * (C + 1) + c + 1 for r in range(R) for c in range(C)]
    gallery = Gallery(job, "image")
    collage: Collage | None = None
    origins = [*sources.origins, *({"mixing": pair} for pair in _pairs(mixing))]
    who = identities(origins)
    painted = _paint(job, model, {"ws": torch.cat([ws, mixed])}, _noise(job, who))
    for index, (cell, pixels) in enumerate(zip(cells, painted, strict=True)):
        tile = sized(pixels, job.request.output)
        collage = collage or Collage(R + 1, C + 1, *tile.shape[:2])
        collage.place(cell, tile)
        if index >= R + C:
            gallery.hang(pixels, _about(job, model, **origins[index], **_repeat(job, who[index])))
    gallery.close()
    assert collage is not None
    about = _about(job, model, mixing=mixing.model_dump(mode="json"))
    put_png(job, "grid.png", collage.pixels, about, role="grid")
    return {"count": R * C}


def _pairs(mixing: Mixing) -> Iterator[dict[str, Any]]:
    for row, column in itertools.product(mixing.rows, mixing.columns):
        yield {"row": row, "column": column, "layers": mixing.layers}


def _film(job: Job, model: LoadedModel, latents: Latents, wanted: Interpolate) -> Result:
    frames = _frames(job, model, untuned(latents, "an interpolation"), wanted)
    inputs = paintable(job, model, frames, truncation_of(job, model))
    about = _about(job, model, sources=latents.origins, fps=encode.FPS, **wanted.model_dump(mode="json"))
    put_latents(job, model, inputs, frames, about)
    output = job.request.output
    film = encode.film(output.film, to_text(about), output.quality)
    one = identities(latents.origins[:1])  # noise that differed from frame to frame would flicker
    for pixels in _paint(job, model, inputs, _noise(job, one * len(frames))):
        film.add(sized(pixels, output))
    job.outbox.put(
        f"interpolation.{output.film}", film.finish, role="film", media_type=encode.MEDIA_TYPES[output.film],
        about=brief(about),
    )  # fmt: skip
    return {"frames": len(frames)}


def _frames(job: Job, model: LoadedModel, latents: Latents, wanted: Interpolate) -> Latents:
    """One latent for each frame: in Z for slerp and without a W; else in W+, or in S as they came."""
    if len(latents) < 2:
        raise BadRequest("an interpolation needs at least two latents")
    if wanted.mode == "slerp":
        if latents.space is not Space.Z:
            raise UnsupportedByModel(
                f"slerp moves in Z, and these latents are in {latents.space}: take linear"
            )
        return known_by_hash(Space.Z, along(latents.rows, wanted.frames, wanted.loop, slerp))
    if latents.space is Space.S or Space.W_PLUS not in model.generator.spaces:
        return known_by_hash(latents.space, along(latents.rows, wanted.frames, wanted.loop, lerp))
    ws = to_ws(job, model, latents, truncation_of(job, model))
    return known_by_hash(Space.W_PLUS, along(ws, wanted.frames, wanted.loop, lerp))


def along(keys: Tensor, frames: int, loop: bool, between: Between) -> Tensor:
    """A path through all of `keys`, (K, ...), at constant pace -> (frames, ...).

    It begins at the first key and ends at the last; a loop goes on to the first and stops one frame
    before it.
    """
    stops = torch.cat([keys, keys[:1]]) if loop else keys
    ways = len(stops) - 1
    t = torch.arange(frames) * (ways / frames) if loop else torch.linspace(0, ways, frames)
    way = t.floor().long().clamp(max=ways - 1)
    return torch.cat([between(stops[k], stops[k + 1], (t - k)[way == k]) for k in range(ways)])


def _paint(
    job: Job,
    model: LoadedModel,
    codes: Mapping[str, Tensor],
    noise: NoiseSource,
    tunings: Sequence[Mapping[str, Tensor]] = (),
) -> Iterator[Pixels]:
    truncation, lod = truncation_of(job, model), job.request.input.lod
    return paint(job, model, codes, noise, truncation, tunings=tunings, lod=lod)


def _noise(job: Job, who: Sequence[Identity], found: Mapping[str, Tensor] | None = None) -> NoiseSource:
    wanted = job.request.input
    return NoiseSource(wanted.noise, wanted.noise_seed, who, found or {})


def _repeat(job: Job, who: Identity) -> dict[str, int]:
    """Which of several pictures of one latent this is: random noise makes them differ."""
    return {"repeat": who[1]} if job.request.input.noise == "random" and who[1] else {}


def _about(job: Job, model: LoadedModel, **picture: Any) -> dict[str, Any]:
    shared = job.request.input.model_dump(
        mode="json", include={*truncation_words(model), "class_index", "noise", "noise_seed", "lod"}
    )
    return provenance(job.kind, model.name, model.sha256, shared, **picture)
