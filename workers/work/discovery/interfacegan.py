"""The normal of the boundary between much and little of a factor."""

from dataclasses import replace

from generative.discovery.interfacegan import project_boundary, train_boundary
from generative.editing.direction import Direction
from generative.spaces import Space
from jobs.discovery import InterfaceganInput
from jobs.errors import JobFailed
from workers.models import LoadedModel
from workers.work.discovery.samples import Job, one_w, scored


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, InterfaceganInput)
    factors = (wanted.factor, *wanted.keep)
    scores, latents = scored(job, model, wanted, factors, one_w)
    boundaries = [train_boundary(latents, scores[name], wanted.chosen, wanted.seed) for name in factors]
    normals = [boundary.normal for boundary in boundaries]
    try:
        normal = project_boundary(normals[0], normals[1:]) if wanted.keep else normals[0]
    except ValueError as error:
        raise JobFailed(str(error)) from error
    right = boundaries[0].validation
    return [
        replace(
            boundaries[0].direction(wanted.name, Space.W),
            vector=normal,
            description=f"normal of the boundary of {wanted.factor}",
            provenance={"validation": f"{right.right} of {right.total}"},
        )
    ]
