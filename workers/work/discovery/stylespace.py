"""Style channels that are unusual in pictures with a factor."""

from torch import Tensor

from generative.discovery.stylespace import attribute_channels, style_statistics
from generative.editing.direction import Direction
from jobs.discovery import StylespaceInput
from workers.models import LoadedModel
from workers.work import painting
from workers.work.discovery.samples import Codes, Job, scored
from workers.work.discovery.style_channels import as_directions, layers_without_torgb
from workers.work.sources import with_w


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, StylespaceInput)

    def styles_of(codes: Codes) -> Tensor:
        rows: Tensor = job.forward(model, painting.style_rows, {"ws": codes["ws"]})
        return rows

    scores, rows = scored(job, model, wanted, (wanted.factor,), styles_of)
    styles = list(generator.split_styles(rows).values())
    statistics = style_statistics(styles)
    most = scores[wanted.factor].argsort(descending=True, stable=True)[: wanted.examples]
    layers = layers_without_torgb(generator)
    found = attribute_channels([s[most] for s in styles], statistics, wanted.channels, layers)
    return as_directions(generator, statistics, found, wanted.name, wanted.method, f"for {wanted.factor}")
