"""Directions as another project publishes them, read in a limited process."""

import tempfile
from pathlib import Path

from generative.editing.direction import Direction
from generative.editing.files import load_directions
from generative.generator import StyleGenerator
from jobs.blobs import fetch
from jobs.discovery import DirectionsImport
from jobs.errors import BadCheckpoint, NotFound
from workers.converter import read_directions
from workers.models import LoadedModel
from workers.work.discovery.samples import Job


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, DirectionsImport)
    generator = model.generator
    target = {"z_dim": generator.z_dim}
    if isinstance(generator, StyleGenerator):
        target |= {"w_dim": generator.w_dim, "num_ws": generator.num_ws}
    job.reporter.report(0.05, message="reading the file")
    with tempfile.TemporaryDirectory(prefix="directions-") as place:
        file, folder = Path(place) / "upload", Path(place) / "set"
        try:
            fetch(job.context.blobs, wanted.upload, file)
        except NotFound as error:
            raise BadCheckpoint("the uploaded file is no longer there; upload it again") from error
        read_directions(
            file, folder, wanted.name, target, job.reporter.alive, space=wanted.space, first=wanted.first
        )
        return list(load_directions(folder).values())
