"""Style channels that are unusual in pictures with a factor."""

import torch
from torch import Tensor

from generative.discovery.stylespace import attribute_channels, style_statistics
from generative.editing.direction import Direction
from generative.spaces import Space
from jobs.discovery import StylespaceInput
from workers.models import LoadedModel
from workers.work import painting
from workers.work.discovery.samples import Codes, Job, names_of, scored
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
    names = list(generator.style_widths())
    layers = [i for i, name in enumerate(names) if "torgb" not in name]
    found = attribute_channels([s[most] for s in styles], statistics, wanted.channels, layers)
    starts = [0, *torch.tensor(list(generator.style_widths().values())).cumsum(0).tolist()]
    directions = []
    for name, channel in zip(names_of(wanted.name, len(found)), found, strict=True):
        vector = torch.zeros(rows.shape[1])
        vector[starts[channel.layer] + channel.index] = 1.0 if channel.score >= 0 else -1.0
        directions.append(
            Direction(
                name,
                Space.S,
                vector,
                unit="sigma",
                sigma=float(statistics.std[channel.layer][channel.index]),
                method="stylespace",
                description=f"channel {channel.index} of {names[channel.layer]}, for {wanted.factor}",
                provenance={"score": channel.score},
            )
        )
    return directions
