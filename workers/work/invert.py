"""invert: uploaded pictures to latents, with the pictures that these paint.

A picture that is not square is cut to its middle square, then brought to the size of the model.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from generative.spaces import Space
from jobs.inversion import Inversion, sight
from jobs.schemas import InvertRequest
from workers import encode, plots
from workers.encode import strip
from workers.images import Pixels, resize
from workers.job import Result, RunningJob
from workers.models import LoadedModel
from workers.provenance import provenance
from workers.work.gallery import Gallery, put_png, sized
from workers.work.inversion import Inverted, invert_pictures
from workers.work.latent_output import convert, put_codes, put_file
from workers.work.observations import put_back, read_images

SHARE = 0.95  # of the progress; the rest is output
AMPLIFIED = 4  # differences between two pictures are shown so many times larger
MIN_FRAMES = 2  # of a film


def invert(job: RunningJob[InvertRequest]) -> Result:
    wanted, model = job.request.input, job.model()
    uploads = read_images(job, model, wanted.images, wanted)
    found = invert_pictures(
        job, model, uploads.squares, wanted, preview_every=wanted.preview_every, share=SHARE
    )
    settings = settings_of(wanted, model)
    about = partial(provenance, job.kind, model.name, model.sha256, settings)
    abouts = [
        about(image=image, **quality) for image, quality in zip(wanted.images, found.about, strict=True)
    ]
    put_found(job, found, abouts)
    for index, _ in enumerate(uploads.frames):
        pasted = put_back(uploads, index, found.reconstructions[index])
        put_png(job, f"pasted_{index:04d}.png", pasted, abouts[index], role="pasted", index=index)
    _put_films(job, found, abouts)
    if isinstance(found.latents, dict):
        put_codes(job, found.latents, about(images=wanted.images))
    else:
        space = found.latents.space if job.request.output.latents == "none" else job.request.output.latents
        latents = convert(job, model, Space(space), found.inputs, found.latents)
        put_file(job, latents, about(images=wanted.images))
    if any(found.curves):
        title = f"{model.name}: {settings['method']} in {settings['space'].upper()}"
        job.outbox.put(
            "loss.png",
            partial(plots.loss_curves, found.curves, title),
            role="plot",
            media_type=encode.MEDIA_TYPES["png"],
        )
    return {"images": found.about}


def settings_of(given: Inversion, model: LoadedModel) -> dict[str, Any]:
    """All that decides what is found, for provenance."""
    fields = set(Inversion.model_fields)
    complete = given.completed(sight(model.card.encoder), model.card.spaces)
    return complete.model_dump(mode="json", include=fields)


def put_found(job: RunningJob[Any], found: Inverted, abouts: Sequence[Mapping[str, Any]]) -> None:
    """For each picture what was given, what was found, the difference, and the three side by side."""
    gallery = Gallery(job, "reconstruction")
    for index, about in enumerate(abouts):
        painted = found.reconstructions[index]
        original = resize(found.originals[index], len(painted))
        gap = difference(original, painted)
        gallery.hang(painted, about, role="reconstruction")
        shown = {"original": original, "difference": gap}
        shown["comparison"] = strip(
            [sized(picture, job.request.output) for picture in (original, painted, gap)]
        )
        for role, picture in shown.items():
            put_png(job, f"{role}_{index:04d}.png", picture, about, role=role, index=index)
    gallery.close()


def difference(a: Pixels, b: Pixels) -> Pixels:
    """Where two pictures differ, four times as strong."""
    gap = np.abs(a.astype(np.int16) - b.astype(np.int16)) * AMPLIFIED
    return gap.clip(0, 255).astype(np.uint8)


def _put_films(job: RunningJob[InvertRequest], found: Inverted, abouts: Sequence[Mapping[str, Any]]) -> None:
    """How each search went, from what its previews showed."""
    output = job.request.output
    for index, frames in enumerate(found.frames):
        if len(frames) < MIN_FRAMES:
            continue
        film = encode.film(output.film, "", output.quality)
        for frame in frames:
            film.add(frame)
        name = f"progress_{index:04d}.{output.film}"
        kind = encode.MEDIA_TYPES[output.film]
        job.outbox.put(
            name,
            film.finish,
            role="film",
            media_type=kind,
            index=index,
            about={"image": abouts[index]["image"]},
        )
