"""Sets of edits as files: `<set>.json` says what they are, `<set>.safetensors` holds their numbers.

The JSON is also read where there is no torch::

    {"set": "sefa", "method": "sefa", "directions": [
      {"name": "sefa_0", "space": "w", "layers": "0-3,7" or null for all, "unit": "sigma", "sigma": 0.71,
       "range": [-3, 3], "description": "...", "provenance": {...}}, ...]}

An entry's `type` is `direction` where it has none, `flow` (`attribute_flow`) or `units` (`unit_table`). The
vector of a direction has its name in the file of numbers, other tensors `<name>/<their own>`. Names are
unique within a model, whatever the set and the type.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from generative.editing.attribute_flow import AttributeFlow
from generative.editing.direction import Direction
from generative.editing.unit_table import UnitTable

Member = Direction | AttributeFlow | UnitTable
_TYPES: Mapping[str, type[Direction] | type[AttributeFlow] | type[UnitTable]] = {
    kind.type: kind for kind in (Direction, AttributeFlow, UnitTable)
}


@dataclass(frozen=True)
class Members:
    """What sets hold, each by name."""

    directions: dict[str, Direction] = field(default_factory=dict)
    flows: dict[str, AttributeFlow] = field(default_factory=dict)
    units: dict[str, UnitTable] = field(default_factory=dict)


def save_directions(folder: Path, name: str, method: str, members: Sequence[Member]) -> None:
    """Write the set `name` into the model folder's `directions/`."""
    if len({member.name for member in members}) != len(members):
        raise ValueError("two directions of a set have the same name")
    numbers = {
        _key(member.name, part): tensor.float().contiguous().clone()
        for member in members
        for part, tensor in member.tensors().items()
    }
    target = folder / "directions"
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.safetensors").write_bytes(save(numbers))
    record = {"set": name, "method": method, "directions": [_typed(member) for member in members]}
    (target / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def load_sets(folder: Path) -> Members:
    """All that the sets in a model folder's `directions/` hold.

    Raises:
        ValueError: for records that are not right, numbers that are missing, or names that appear twice.
    """
    found = Members()
    places: dict[type, dict[str, Any]] = {
        Direction: found.directions,
        AttributeFlow: found.flows,
        UnitTable: found.units,
    }
    names = set[str]()
    for member in _members(folder):
        if member.name in names:
            raise ValueError(f"{member.name!r} is there twice")
        names.add(member.name)
        places[type(member)][member.name] = member
    return found


def load_directions(folder: Path) -> dict[str, Direction]:
    """The directions of `load_sets`."""
    return load_sets(folder).directions


def _members(folder: Path) -> Iterator[Member]:
    for path in sorted((folder / "directions").glob("*.json")):
        record = json.loads(path.read_text())
        numbers = load_file(path.with_suffix(".safetensors"))
        for entry in record["directions"]:
            name, kind = entry["name"], entry.get("type", "direction")
            own = _own(name, numbers)
            if kind not in _TYPES or not own:
                raise ValueError(f"{name!r} of {path.name} has an unknown type, or no numbers")
            try:
                yield _TYPES[kind].read(entry, record["method"], own)
            except KeyError as error:
                raise ValueError(f"{name!r} of {path.name} lacks {error}") from error


def _typed(member: Member) -> dict[str, Any]:
    said = member.entry()
    return said if member.type == "direction" else {"type": member.type} | said


def _key(name: str, part: str) -> str:
    return f"{name}/{part}" if part else name


def _own(name: str, numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one member, by their own names."""
    own = {key.removeprefix(f"{name}/"): t for key, t in numbers.items() if key.startswith(f"{name}/")}
    return {"": numbers[name]} if name in numbers else own
