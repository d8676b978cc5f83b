"""A boundary with the layers that carry it, by re-scoring layer after layer."""

from functools import partial

from torch import Tensor

from generative.discovery.higan import Rescored, carrying, rescore, train_from_scores
from generative.editing.direction import Direction
from generative.spaces import Space
from jobs.discovery import HiganInput
from jobs.errors import JobFailed
from workers import encode, plots
from workers.models import LoadedModel
from workers.work.direction_notes import look
from workers.work.discovery.samples import FOUND, Job, one_w, refuse_factor, scored, statistics_of
from workers.work.sources import with_w

READ = 0.25  # of the progress, where samples are read; then layers are scored


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, HiganInput)
    scores, latents = scored(job, model, wanted, (wanted.factor,), one_w, READ)
    boundary = train_from_scores(latents, scores[wanted.factor], wanted.chosen, wanted.seed)
    rises = _rises(job, model, wanted, latents[: wanted.rescored], boundary.normal)
    layers = carrying(rises.layers)
    if not layers:
        raise JobFailed(f"no layer raises {wanted.factor} along its boundary")
    title = f"{wanted.factor}: rise of the score by layer"
    plot = partial(plots.layer_bars, rises.layers.tolist(), float(rises.together), layers, title)
    job.outbox.put("layers.png", plot, role="plot", media_type=encode.MEDIA_TYPES["png"])
    return [
        Direction(
            wanted.name,
            Space.W,
            boundary.normal,
            layers=layers if len(layers) < generator.num_ws else None,
            unit="sigma",
            sigma=statistics_of(model).sigma_along(boundary.normal),
            method="higan",
            description=f"boundary of {wanted.factor}, in the layers that carry it",
            provenance={
                "validation": f"{boundary.validation.right} of {boundary.validation.total}",
                "rise": round(float(rises.together), 4),
                "rises": [round(rise, 4) for rise in rises.layers.tolist()],
            },
        )
    ]


def _rises(job: Job, model: LoadedModel, wanted: HiganInput, latents: Tensor, normal: Tensor) -> Rescored:
    """In units of the factor: standard deviations of the world, or probability. The move is as long as the
    paper's, 2, where W is as wide as there: two standard deviations.
    """
    L, readout = with_w(model.generator).num_ws, refuse_factor(model, wanted.factor)
    unit = readout.std if readout.kind == "continuous" else 1.0
    done = 0

    def score(ws: Tensor) -> Tensor:
        nonlocal done
        readings = look(job, model, {"ws": ws}).readings[wanted.factor] / unit
        done += 1
        job.reporter.report(READ + (FOUND - READ) * done / (L + 2), done, L + 2, message="scoring layers")
        return readings

    ws = latents[:, None].expand(-1, L, -1)
    return rescore(ws, normal * statistics_of(model).sigma_along(normal), score, wanted.psi)
