"""Units of layers, the parts of pictures that they go with, and what is lost without them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from generative.discovery.dissection import IOU_REPORTED, Counts, Levels, count, enlarge, iou, sums_in_labels
from generative.editing.unit_table import UnitTable
from generative.networks.parts_network import PartsNetwork
from generative.pixels import from_uint8
from jobs.discovery import DissectInput
from jobs.errors import JobFailed, UnsupportedByModel
from workers.models import LoadedModel
from workers.work.direction_notes import Notes
from workers.work.discovery.features import AMOUNTS, PICTURES, Ablated, Features
from workers.work.discovery.samples import Codes, Job, names_of, samples, truncation_for
from workers.work.sources import psi_of
from workers.work.unit_notes import Stage, take_unit_notes

STEP = 32  # pictures at a time
LEVELS, COUNTED, ABLATED = 0.3, 0.6, 0.95  # of the progress, where each of the three passes ends
TRIED = 32  # pictures that units are turned off in
LEAST = 1e-3  # share of all pixels that a part must have to be spoken of
PEAKS = 6  # pictures that a unit is strongest in, which are shown


@dataclass
class _Layer:
    """What is known so far of one layer."""

    name: str
    levels: Levels
    counts: Counts | None = None
    sums: Tensor | None = None  # (L, U) of activations where a label is
    size: int = 0
    peaks: list[Tensor] = field(default_factory=list)  # (n, U), the largest value in each picture


def find(job: Job, model: LoadedModel) -> list[Notes[UnitTable]]:
    """With their notes: pictures of units need the samples that they were measured on."""
    wanted = job.request.input
    assert isinstance(wanted, DissectInput)
    network = parts_of(model)
    psi = psi_of(model.generator, truncation_for(model, wanted, wanted.psi))
    op = Features(wanted.features, psi)
    codes, labels, layers = _first_pass(job, model, wanted, op, network)
    categories = torch.zeros(len(network.record.parts), dtype=torch.int64)
    for i, (some, seen_labels) in enumerate(zip(codes, labels, strict=True)):
        seen = job.forward(model, op, some)
        for layer in layers:
            _count(layer, seen[layer.name], seen_labels, categories)
        share = LEVELS + (COUNTED - LEVELS) * (i + 1) / len(codes)
        job.reporter.report(share, i + 1, len(codes), message="counting")
    tables = [
        _table(job, network, layer, name, categories)
        for layer, name in zip(layers, names_of(wanted.name, len(layers)), strict=True)
    ]
    tables = [
        _with_effects(job, model, network, table, codes, i / len(tables), 1 / len(tables))
        for i, table in enumerate(tables)
    ]
    stage = Stage(codes, op, [torch.cat(layer.peaks) for layer in layers])
    return take_unit_notes(job, model, tables, stage)


def parts_of(model: LoadedModel) -> PartsNetwork:
    """Raises UnsupportedByModel."""
    if model.parts is None:
        raise UnsupportedByModel(f"no network finds parts in the pictures of {model.name!r}")
    return model.parts


def labelled(network: PartsNetwork, pictures: Tensor) -> Tensor:
    """(n, H, W, 3) uint8 -> labels (n, H, W) uint8."""
    with torch.no_grad():
        return network.label(from_uint8(pictures))


def _first_pass(
    job: Job, model: LoadedModel, wanted: DissectInput, op: Features, network: PartsNetwork
) -> tuple[list[Codes], list[Tensor], list[_Layer]]:
    """Codes and part maps of all samples, and the levels of all units."""
    codes, labels, layers = [], [], list[_Layer]()
    for some in samples(job, model, wanted, wanted.samples, STEP, wanted.psi, LEVELS):
        try:
            seen = job.forward(model, op, some)
        except ValueError as error:
            raise UnsupportedByModel(str(error)) from error
        if not layers:
            layers = [
                _Layer(name, Levels(wanted.samples * seen[name][0, 0].numel()), size=seen[name].shape[-1])
                for name in wanted.features
            ]
        for layer in layers:
            layer.levels.add(seen[layer.name])
            layer.peaks.append(seen[layer.name].amax(dim=(2, 3)))
        codes.append(some)
        labels.append(labelled(network, seen[PICTURES]))
    return codes, labels, layers


def _count(layer: _Layer, activations: Tensor, labels: Tensor, categories: Tensor) -> None:
    large = enlarge(activations, (labels.shape[1], labels.shape[2]))
    found = count(large, labels[:, None], layer.levels.value(), categories)
    sums = sums_in_labels(large, labels, len(categories))
    layer.counts = found if layer.counts is None else layer.counts + found
    layer.sums = sums if layer.sums is None else layer.sums + sums


def _table(job: Job, network: PartsNetwork, layer: _Layer, name: str, categories: Tensor) -> UnitTable:
    """Of the parts that the samples show. The first label, the background, is no part."""
    counts, sums = layer.counts, layer.sums
    assert counts is not None and sums is not None
    pixels = int(counts.total[0])
    shown = [i for i in range(1, len(categories)) if counts.label[i] >= LEAST * pixels]
    if not shown:
        raise JobFailed("the samples show no part")
    scores = iou(counts, categories)[shown]
    return UnitTable(
        name,
        layer.name,
        layer.size,
        tuple(network.record.parts[i] for i in shown),
        scores.float(),
        layer.levels.value(),
        (sums[shown] / counts.label[shown][:, None]).float(),
        method="dissect",
        description=f"{int((scores.amax(dim=0) > IOU_REPORTED).sum())} of {scores.shape[1]} units of"
        f" {layer.name} go with a part",
    )


def _with_effects(
    job: Job,
    model: LoadedModel,
    network: PartsNetwork,
    table: UnitTable,
    codes: Sequence[Codes],
    begin: float,
    share: float,
) -> UnitTable:
    """With what is lost of each part when its best units are turned off together."""
    wanted = job.request.input
    assert isinstance(wanted, DissectInput)
    op = Ablated(table.layer, psi_of(model.generator, truncation_for(model, wanted, wanted.psi)))
    people = {name: t[:TRIED] for name, t in codes[0].items()}
    before = _pixels(job, model, op, network, people, table, None)
    effects = {}
    for i, part in enumerate(table.parts):
        units = table.ranked(part)[: wanted.ablate]
        after = _pixels(job, model, op, network, people, table, units)
        lost = 1 - float(after[part]) / before[part] if before[part] else 0.0
        effects[part] = {"units": len(units), "lost": round(lost, 4)}
        value = COUNTED + (ABLATED - COUNTED) * (begin + share * (i + 1) / len(table.parts))
        job.reporter.report(value, i + 1, len(table.parts), message=f"turning units of {table.layer} off")
    return replace(table, effects=effects)


def _pixels(
    job: Job,
    model: LoadedModel,
    op: Ablated,
    network: PartsNetwork,
    people: Codes,
    table: UnitTable,
    units: Tensor | None,
) -> dict[str, int]:
    """How many pixels show each part, in all pictures of some people with units turned off."""
    N = len(next(iter(people.values())))
    off = torch.zeros(len(table)) if units is None else torch.zeros(len(table)).index_fill(0, units, 1.0)
    labels = labelled(network, job.forward(model, op, {**people, AMOUNTS: off.expand(N, -1)}))
    counts = torch.bincount(labels.flatten().long(), minlength=len(network.record.parts))
    return {part: int(counts[network.record.parts.index(part)]) for part in table.parts}
