"""invert: uploaded pictures to latents, with the pictures that these paint.

A picture that is not square is cut to its middle square, then brought to the size of the model.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from generative.spaces import Space
from jobs.schemas import InvertRequest
from workers import encode, plots
from workers.encode import strip
from workers.job import Result, RunningJob
from workers.provenance import provenance
from workers.work.gallery import Gallery, put_png, sized
from workers.work.latent_output import convert, put_file
from workers.work.projection import Inverted, project, read_images

SHARE = 0.95  # of the progress; the rest is output


def invert(job: RunningJob[InvertRequest]) -> Result:
    wanted, model = job.request.input, job.model()
    originals = read_images(job, model, wanted.images)
    found = project(job, model, originals, wanted, preview_every=wanted.preview_every, share=SHARE)
    settings = wanted.model_dump(mode="json", exclude={"images", "preview_every"})
    about = partial(provenance, job.kind, model.name, model.sha256, settings)
    put_found(
        job,
        found,
        [about(image=image, **quality) for image, quality in zip(wanted.images, found.about, strict=True)],
    )
    space = wanted.space if job.request.output.latents == "none" else job.request.output.latents
    put_file(job, convert(job, model, Space(space), found.inputs, found.latents), about(images=wanted.images))
    title = f"{model.name}: projection into {wanted.space.upper()}"
    job.outbox.put(
        "loss.png",
        partial(plots.loss_curves, found.curves, title),
        role="plot",
        media_type=encode.MEDIA_TYPES["png"],
    )
    return {"images": found.about}


def put_found(job: RunningJob[Any], found: Inverted, abouts: Sequence[Mapping[str, Any]]) -> None:
    """What was sought, what was found, and the two side by side, for each picture."""
    gallery = Gallery(job, "reconstruction")
    for index, about in enumerate(abouts):
        original, painted = found.originals[index], found.reconstructions[index]
        gallery.hang(painted, about, role="reconstruction")
        put_png(
            job,
            f"original_{index:04d}.png",
            original,
            {"image": about["image"]},
            role="original",
            index=index,
        )
        put_png(
            job,
            f"comparison_{index:04d}.png",
            strip([sized(picture, job.request.output) for picture in (original, painted)]),
            about,
            role="comparison",
            index=index,
        )
    gallery.close()
