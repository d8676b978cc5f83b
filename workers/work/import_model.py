"""import: a quarantined upload, through the converter, to a model that jobs can name."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from generative.generator import Generator, StyleGenerator
from generative.store import load_model
from jobs.blobs import fetch, model_prefix
from jobs.catalog import read_folder
from jobs.errors import BadCheckpoint, NotFound
from jobs.schemas import ImportRequest
from jobs.store import ModelRow
from workers.converter import convert
from workers.encode import Collage, png
from workers.images import to_pixels
from workers.job import Result, RunningJob
from workers.provenance import provenance, to_text
from workers.work import painting
from workers.work.sources import Truncation, from_seeds, mapping_inputs, psi_of

SAMPLES = 16


def import_model(job: RunningJob[ImportRequest]) -> Result:
    name, wanted = job.request.model, job.request.input
    with tempfile.TemporaryDirectory(prefix="import-") as place:
        file, folder = Path(place) / "upload", Path(place) / "model"
        try:
            fetch(job.context.blobs, wanted.upload, file)
        except NotFound as error:
            raise BadCheckpoint("the uploaded file is no longer there; upload it again") from error
        job.reporter.report(0.1, message="reading the checkpoint")
        convert(file, folder, name, wanted.licence, job.reporter.alive)
        card = read_folder(folder)
        job.reporter.report(0.5, message="painting samples")
        (folder / "samples.png").write_bytes(_samples(job, folder))
        prefix = model_prefix(job.tenant, name, card["sha256"])
        _store(job, folder, prefix)
    job.imported = ModelRow(name=name, sha256=card["sha256"], prefix=prefix, card=card)
    return {"model": name, "sha256": card["sha256"]}


@dataclass(frozen=True)
class _Fresh:
    """A model that no job can name yet."""

    generator: Generator


def _samples(job: RunningJob[ImportRequest], folder: Path) -> bytes:
    """A grid of seeds 0 to 15, of the first classes where there are some, as a PNG; which also shows that the
    model paints.
    """
    generator, card = load_model(folder)
    model = _Fresh(generator.to(job.context.engine.device))
    truncation = Truncation(0.7, class_index=0 if card.classes else None)
    codes = mapping_inputs(model, from_seeds(range(SAMPLES), generator), truncation)
    if card.classes:
        codes["c"] = torch.eye(card.classes)[torch.arange(SAMPLES) % card.classes]
    if isinstance(generator, StyleGenerator):
        codes = {"ws": job.forward(model, painting.map_z, codes)}
    collage: Collage | None = None
    op = painting.Paint("const", psi=psi_of(generator, truncation))
    for index, pixels in enumerate(to_pixels(job.forward(model, op, codes))):
        collage = collage or Collage.squarish(SAMPLES, *pixels.shape[:2])
        collage.place(index, pixels)
    assert collage is not None
    about = {} if card.truncation == "none" else {"psi": truncation.psi}
    return png(collage.pixels, to_text(provenance(job.kind, card.name, card.sha256, about)))


def _store(job: RunningJob[ImportRequest], folder: Path, prefix: str) -> None:
    """Keys hold the hash of the weights, so writing them again is harmless."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for done, path in enumerate(files, 1):
        key = prefix + path.relative_to(folder).as_posix()
        job.context.blobs.write(key, path, media_type="application/octet-stream")
        job.reporter.report(0.6 + 0.4 * done / len(files), message="storing the model")
