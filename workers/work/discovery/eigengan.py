"""The dimensions of an EigenGAN's subspaces, read out."""

from generative.discovery.eigengan import dimensions
from generative.editing.direction import Direction
from generative.networks.eigengan import Generator
from generative.spaces import Space
from jobs.discovery import EigenganInput
from jobs.errors import UnsupportedByModel
from workers.models import LoadedModel
from workers.work.discovery.samples import Job, names_of


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, model.generator
    assert isinstance(wanted, EigenganInput)
    if not isinstance(generator, Generator):
        raise UnsupportedByModel(f"the family {generator.family} has no subspaces")
    found = dimensions(generator)
    return [
        Direction(
            name,
            Space.Z,
            dimension.vector(generator.z_dim),
            unit="sigma",
            method="eigengan",
            description=f"dimension {dimension.index} of level {dimension.level}, {dimension.side} px",
            provenance={"level": dimension.level, "length": round(dimension.length, 4)},
        )
        for name, dimension in zip(names_of(wanted.name, len(found)), found, strict=True)
    ]
