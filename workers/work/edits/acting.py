"""Which function carries out which operation."""

from collections.abc import Sequence
from typing import Any, Protocol

from jobs import editing
from jobs.errors import UnsupportedByModel
from workers.work.edits import attributes, direction, hybrids, others, region, units
from workers.work.edits.bench import Bench
from workers.work.edits.draft import Draft


class Act(Protocol):
    """Raises a BadRequest error, or ValueError for what the model cannot do."""

    def __call__(self, bench: Bench, draft: Draft, wanted: Any, /) -> Draft: ...


def apply(bench: Bench, draft: Draft, operations: Sequence[editing.AnyOperation]) -> Draft:
    """All of them, in order. Raises BadRequest errors."""
    for operation in operations:
        try:
            draft = _ACTS[type(operation)](bench, draft, operation)
        except ValueError as error:
            raise UnsupportedByModel(str(error)) from error
    return draft


def _in_region(bench: Bench, draft: Draft, wanted: editing.RegionOperation) -> Draft:
    inside = apply(bench, Draft(draft.codes[:1], draft.painter), wanted.operations)
    return region.act(bench, draft, wanted, inside)


_ACTS: dict[type[editing.Operation], Act] = {
    editing.DirectionOperation: direction.act,
    editing.AttributesOperation: attributes.act,
    editing.UnitsOperation: units.act,
    editing.MixOperation: others.act_mix,
    editing.TransferOperation: others.act_transfer,
    editing.InterpolateOperation: others.act_interpolate,
    editing.AverageOperation: others.act_average,
    editing.RegionOperation: _in_region,
    editing.SwapLayersOperation: hybrids.act_swap_layers,
    editing.StructureOperation: hybrids.act_structure,
}
