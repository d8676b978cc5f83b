"""Principal components of W."""

from dataclasses import replace

from generative.discovery.ganspace import directions as as_directions
from generative.discovery.ganspace import incremental_pca
from generative.editing.direction import Direction
from generative.spaces import Space
from jobs.discovery import GanspaceInput
from jobs.errors import JobFailed
from workers.models import LoadedModel
from workers.work.discovery.samples import Job, names_of, one_w, samples

MAPPED = 10_000  # samples between two looks at the clock


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted = job.request.input
    assert isinstance(wanted, GanspaceInput)
    step = max(MAPPED, 3 * wanted.components)
    try:
        components = incremental_pca(
            (one_w(codes) for codes in samples(job, model, wanted, wanted.samples, step, psi=1)),
            wanted.components,
        )
    except ValueError as error:
        raise JobFailed(str(error)) from error
    found = as_directions(components, Space.W, components.stdev)
    names = names_of(wanted.name, len(found))
    return [replace(direction, name=name) for direction, name in zip(found, names, strict=True)]
