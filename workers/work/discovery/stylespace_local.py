"""Style channels whose effect stays within a part of the picture."""

from dataclasses import dataclass

import torch
from torch import Tensor

from generative.batch import Tensors
from generative.discovery.stylespace import StyleStatistics, local_channels, region_overlap, style_statistics
from generative.editing.direction import Direction
from generative.generator import StyleGenerator
from jobs.discovery import StylespaceLocalInput
from jobs.errors import JobFailed, UnsupportedByModel
from workers.models import LoadedModel
from workers.work import painting
from workers.work.discovery.dissect import labelled, parts_of
from workers.work.discovery.samples import FOUND, Job, samples
from workers.work.discovery.style_channels import as_directions, layers_without_torgb
from workers.work.sources import with_w

READ = 0.1  # of the progress, where the spread of channels is measured; then each is moved alone
STEP = 256  # samples, and moved pictures, between two looks at the clock
SPREAD = 1.0  # standard deviations by which channels are moved


def find(job: Job, model: LoadedModel) -> list[Direction]:
    wanted, generator = job.request.input, with_w(model.generator)
    assert isinstance(wanted, StylespaceLocalInput)
    parts = parts_of(model).record.parts
    if wanted.part not in parts[1:]:
        raise UnsupportedByModel(f"there is no part {wanted.part!r}; parts are {', '.join(parts[1:])}")
    ws = torch.cat([c["ws"] for c in samples(job, model, wanted, wanted.samples, STEP, wanted.psi, READ)])
    rows = job.forward(model, painting.style_rows, {"ws": ws})
    statistics = style_statistics(list(generator.split_styles(rows).values()))
    shown, labels = _showing(job, model, wanted, ws, rows)
    overlaps = _overlaps(job, model, statistics, shown, labels)
    layers = layers_without_torgb(generator)
    region = parts.index(wanted.part)
    found = local_channels(overlaps, region, wanted.channels, layers)
    if not found:
        raise JobFailed(f"no channel acts in {wanted.part} more than elsewhere in most pictures")
    return as_directions(generator, statistics, found, wanted.name, wanted.method, f"local to {wanted.part}")


def _showing(
    job: Job, model: LoadedModel, wanted: StylespaceLocalInput, ws: Tensor, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Styles (n, S) and part maps (n, H, W) of the pictures in which the part shows best."""
    network = parts_of(model)
    pictures = job.forward(model, painting.Paint(), {"ws": ws[: wanted.looked]})
    labels = labelled(network, pictures)
    area = (labels == network.record.parts.index(wanted.part)).flatten(1).sum(dim=1)
    best = area.argsort(descending=True, stable=True)[: wanted.pictures]
    if not int(area[best[-1]]):
        raise JobFailed(f"{wanted.part} shows in fewer than {wanted.pictures} of {wanted.looked} pictures")
    return rows[best], labels[best]


def _overlaps(
    job: Job, model: LoadedModel, statistics: StyleStatistics, shown: Tensor, labels: Tensor
) -> list[Tensor]:
    """For each layer (n, channels, R), by moving every channel alone in every picture."""
    generator = with_w(model.generator)
    spreads = torch.cat(statistics.std)
    op = Overlap(len(parts_of(model).record.parts))
    found = []
    for i, styles in enumerate(shown):
        pieces = []
        for chosen in torch.arange(len(spreads)).split(STEP):
            n = len(chosen)
            moved = styles.repeat(n, 1)
            moved[torch.arange(n), chosen] += SPREAD * spreads[chosen]
            inputs = {"before": styles.expand(n, -1), "styles": moved}
            pieces.append(job.forward(model, op, inputs | {"labels": labels[i].expand(n, -1, -1)}))
            done = i * len(spreads) + sum(map(len, pieces))
            count = len(shown) * len(spreads)
            value = READ + (FOUND - READ) * done / count
            job.reporter.report(value, done, count, message="moving channels")
        found.append(torch.cat(pieces))
    widths = list(generator.style_widths().values())
    return list(torch.stack(found).split(widths, dim=1))


@dataclass(frozen=True)
class Overlap:
    """How pictures of styles (N, S) differ from those `before`: the overlap with each region of `labels`
    (N, H, W), (N, R), as `region_overlap` has it.
    """

    regions: int

    def __call__(self, generator: StyleGenerator, inputs: Tensors) -> Tensor:
        before, after = (
            generator.synthesize_styles(generator.split_styles(inputs[name])) for name in ("before", "styles")
        )
        change = (after - before).abs().sum(dim=1, keepdim=True)
        labels = inputs["labels"].clamp(0, self.regions - 1)  # the engine tries operations with any numbers
        return region_overlap(change, labels, self.regions)[:, 0]
