"""What a dissection knows of the units of one layer: which part of pictures each goes with, and how strong it
is there; so that units can be turned off, or put in, by the name of a part.

Axis letters: P parts, U units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor

NAMED = 8  # best units of each part that the listing names


@dataclass(frozen=True, eq=False)
class UnitTable:
    """The units of one layer, as `generative.discovery.dissection` measures them."""

    type: ClassVar = "units"

    name: str
    layer: str
    """The layer's name, as hooks of the generator get it."""
    size: int
    """Side of the layer's output, in its own pixels."""
    parts: tuple[str, ...]
    iou: Tensor
    """(P, U) in [0, 1]: places where a unit is on and a part shows, over places where either."""
    levels: Tensor
    """(U,): a unit is on above this."""
    values: Tensor
    """(P, U): how strong a unit is where a part shows, in the mean; what to put in for more of the part."""
    effects: dict[str, dict[str, float]] = field(default_factory=dict)
    """By part: `units` turned off, the best ones, and the share of its pixels that are then `lost`."""
    method: str = ""
    description: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        P, U = len(self.parts), len(self.levels)
        if self.iou.shape != (P, U) or self.values.shape != (P, U):
            raise ValueError(f"tables of {tuple(self.iou.shape)} for {P} parts and {U} units")
        if not all(bool(t.isfinite().all()) for t in self.tensors().values()):
            raise ValueError(f"the units {self.name!r} hold NaN or infinity")

    def __len__(self) -> int:
        """How many units."""
        return len(self.levels)

    def ranked(self, part: str) -> Tensor:
        """(U,) int64: all units, the one that goes with the part most first.

        Raises:
            ValueError: for a part that is not in the table.
        """
        return self.iou[self._row(part)].argsort(descending=True, stable=True)

    def typical(self, part: str) -> Tensor:
        """(U,): each unit's mean where the part shows. Raises ValueError for an unknown part."""
        return self.values[self._row(part)]

    def _row(self, part: str) -> int:
        if part not in self.parts:
            raise ValueError(f"the units {self.name!r} know {', '.join(self.parts)}, not {part!r}")
        return self.parts.index(part)

    def entry(self) -> dict[str, Any]:
        """All but the tables, as JSON. `best`: by part, [unit, IoU] of those that go with it most."""
        best = {
            part: [[int(u), round(float(self.iou[p, u]), 4)] for u in self.ranked(part)[:NAMED]]
            for p, part in enumerate(self.parts)
        }
        return {
            "name": self.name,
            "layer": self.layer,
            "size": self.size,
            "units": len(self),
            "parts": list(self.parts),
            "best": best,
            "effects": self.effects,
            "description": self.description,
            "provenance": self.provenance,
        }

    def tensors(self) -> dict[str, Tensor]:
        return {"iou": self.iou, "levels": self.levels, "values": self.values}

    @classmethod
    def read(cls, entry: Mapping[str, Any], method: str, tensors: Mapping[str, Tensor]) -> Self:
        """From what `entry` and `tensors` gave. Raises ValueError, KeyError for what is not right."""
        return cls(
            name=entry["name"],
            layer=entry["layer"],
            size=entry["size"],
            parts=tuple(entry["parts"]),
            iou=tensors["iou"],
            levels=tensors["levels"],
            values=tensors["values"],
            effects=entry["effects"],
            method=method,
            description=entry["description"],
            provenance=entry["provenance"],
        )
