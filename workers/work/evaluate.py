"""evaluate: how good a model's samples are, against renders of its world or pictures of the caller.

All numbers come from `generative.metrics.evaluation`; here the engine runs its operations, and the report
goes out as the job's result and as a page, with a chart of the factors and a sheet of samples beside the
pictures of the reference that are nearest to them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from generative.metrics.changes import Edit
from generative.metrics.evaluation import Evaluation, Plan, evaluate
from generative.metrics.examiner import Examiner, Inputs, Op, Outputs
from generative.metrics.pictures import PictureSet, Renders
from jobs.blobs import BlobStore
from jobs.errors import (
    JobFailed,
    NotFound,
    UnknownArtifact,
    UnknownImage,
    UnsupportedByModel,
)
from jobs.evaluation import EditStep, EvaluateInput, Pictures
from jobs.schemas import EvaluateRequest
from jobs.words import MIN_PICTURES
from workers import encode, plots
from workers.blocks import Subject
from workers.encode import Collage
from workers.images import decode, fit_square, to_pixels
from workers.job import Result, RunningJob
from workers.latents import layers_of
from workers.models import LoadedModel
from workers.provenance import provenance
from workers.work.gallery import put_png
from workers.work.sources import class_number, with_w

Job = RunningJob[EvaluateRequest]
SHARE = 0.98  # of the progress; the rest is output


def evaluate_model(job: Job) -> Result:
    wanted, model = job.request.input, job.model()
    examiner = model.examiner
    if examiner is None:
        raise UnsupportedByModel("there is no network that sees the pictures of this model")
    try:
        found = evaluate(
            examiner, _plan(wanted, model), _reference(job, model), _runner(job, examiner), _teller(job)
        )
    except ValueError as error:  # something cannot be measured on these pictures
        raise JobFailed(str(error)) from error
    _put(job, model, found)
    return found.report.plain()


def _plan(wanted: EvaluateInput, model: LoadedModel) -> Plan:
    return Plan(
        metrics=wanted.metrics,
        count=wanted.count,
        seed=wanted.seed,
        psi=wanted.psi,
        class_index=class_number(model.card, wanted.class_index),
        path_space=wanted.path.space,
        path_sampling=wanted.path.sampling,
        edits=tuple(_edit(step, model) for step in wanted.edits),
    )


def _edit(step: EditStep, model: LoadedModel) -> Edit:
    direction = model.direction(step.name)
    layers = layers_of(step.layers, with_w(model.generator).num_ws) if step.layers else None
    return Edit(direction, step.strength, layers)


def _runner(job: Job, examiner: Examiner) -> Callable[[Op, Inputs], Outputs]:
    def run(op: Op, inputs: Inputs) -> Outputs:
        found: Outputs = job.forward(Subject(examiner), op, inputs)
        return found

    return run


def _teller(job: Job) -> Callable[[float, str], None]:
    return lambda share, message: job.reporter.report(SHARE * share, message=message)


# --- the reference ---------------------------------------------------------------------------------------


def _reference(job: Job, model: LoadedModel) -> PictureSet:
    wanted, side = job.request.input, model.generator.img_resolution
    if isinstance(wanted.reference, Pictures):
        return Stored(job.context.blobs, _keys(job, wanted.reference), side)
    return Renders(wanted.count, side, wanted.seed)


class Stored:
    """Pictures in the object store, read whenever they are asked for: their middle squares, in one size."""

    def __init__(self, blobs: BlobStore, keys: Sequence[str], side: int) -> None:
        self._blobs, self._keys, self._side = blobs, keys, side

    def __len__(self) -> int:
        return len(self._keys)

    def pictures(self, rows: Sequence[int]) -> Tensor:
        """(n, side, side, 3) uint8."""
        found = [fit_square(decode(self._blobs.read(self._keys[row])), self._side) for row in rows]
        return torch.from_numpy(np.stack(found))


def _keys(job: Job, wanted: Pictures) -> list[str]:
    """Where the pictures lie. Raises UnknownImage, UnknownArtifact."""
    store = job.context.store
    try:
        if wanted.images is not None:
            return [store.get_image(job.tenant, image).key for image in wanted.images]
        assert wanted.job is not None
        outputs = store.get(job.tenant, wanted.job).outputs
    except NotFound as error:
        raise (UnknownImage if wanted.images else UnknownArtifact)(str(error)) from error
    keys = [output.key for output in outputs if output.role == "image" and output.key is not None]
    if len(keys) < MIN_PICTURES:
        raise UnknownArtifact(f"job {wanted.job} has {len(keys)} pictures; {MIN_PICTURES} are needed")
    return keys


# --- the output ------------------------------------------------------------------------------------------


def _put(job: Job, model: LoadedModel, found: Evaluation) -> None:
    report = found.report
    job.outbox.put(
        "report.md", lambda: report.markdown().encode(), role="report", media_type=encode.MEDIA_TYPES["md"]
    )
    if report.factors:
        title = f"{model.name}: factors of {report.count:,} samples"
        job.outbox.put(
            "factors.png",
            partial(plots.factor_bars, report.factors, title),
            role="plot",
            media_type=encode.MEDIA_TYPES["png"],
        )
    if found.sheet is not None:
        about = provenance(
            job.kind, model.name, model.sha256, job.request.input.model_dump(mode="json", by_alias=True)
        )
        put_png(job, "nearest.png", _collage(found.sheet), about, role="grid")


def _collage(sheet: Tensor) -> encode.Pixels:
    """(rows, columns, H, W, 3) -> one picture."""
    rows, columns, height, width = sheet.shape[:4]
    collage = Collage(rows, columns, height, width)
    for index, tile in enumerate(to_pixels(sheet.flatten(0, 1))):
        collage.place(index, tile)
    return collage.pixels
