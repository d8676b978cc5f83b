"""units: units of a layer switched off, on or to a value."""

import torch

from jobs.editing import UnitsOperation
from jobs.errors import BadRequest, UnknownDirection
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft
from workers.work.painting import Touch


def act(bench: Bench, draft: Draft, wanted: UnitsOperation) -> Draft:
    if wanted.table is None:
        layer, tensors = _explicit(bench, wanted)
    else:
        layer, tensors = _of_part(bench, wanted)
    mask = None if wanted.mask is None else bench.mask(wanted.mask)
    rows = {name: t.expand(len(draft), -1) for name, t in tensors.items()}
    return draft.touched(Touch("units", layer, None), rows, mask)


def _explicit(bench: Bench, wanted: UnitsOperation) -> tuple[str, dict[str, torch.Tensor]]:
    assert wanted.layer is not None and wanted.units is not None
    channels = {feature.name: feature.channels for feature in bench.model.card.features}
    if max(wanted.units) >= channels.get(wanted.layer, 0):
        raise BadRequest(f"the model {bench.model.name!r} has no such units in a layer {wanted.layer!r}")
    amount = torch.zeros(channels[wanted.layer])
    amount[list(wanted.units)] = wanted.strength
    return wanted.layer, {"amount": amount, "value": torch.full_like(amount, wanted.value or 0.0)}


def _of_part(bench: Bench, wanted: UnitsOperation) -> tuple[str, dict[str, torch.Tensor]]:
    assert wanted.table is not None and wanted.part is not None
    if wanted.table not in bench.model.units:
        raise UnknownDirection(f"The model {bench.model.name!r} has no table of units {wanted.table!r}.")
    table = bench.model.units[wanted.table]
    best = table.ranked(wanted.part)[: wanted.count]
    amount = torch.zeros(len(table)).index_fill(0, best, wanted.strength)
    value = torch.full_like(amount, wanted.value or 0.0)
    return table.layer, {
        "amount": amount,
        "value": table.typical(wanted.part) if wanted.action == "on" else value,
    }
