"""Direction sets as files: `<set>.json` says what they are, `<set>.safetensors` holds a vector under each
name.

The JSON is also read where there is no torch::

    {"set": "sefa", "method": "sefa", "directions": [
      {"name": "sefa_0", "space": "w", "layers": "0-3,7" or null for all, "unit": "sigma", "sigma": 0.71,
       "range": [-3, 3], "description": "...", "provenance": {...}}, ...]}

Names are unique within a model, whatever the set.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save

from generative.editing.direction import Direction
from generative.editing.layers import format_layers, parse_layers
from generative.spaces import Space

MAX_LAYERS = 64


def save_directions(folder: Path, name: str, method: str, directions: Sequence[Direction]) -> None:
    """Write the set `name` into the model folder's `directions/`."""
    vectors = {d.name: d.vector.float().contiguous().clone() for d in directions}
    if len(vectors) != len(directions):
        raise ValueError("two directions of a set have the same name")
    target = folder / "directions"
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{name}.safetensors").write_bytes(save(vectors))
    record = {"set": name, "method": method, "directions": [_to_json(d) for d in directions]}
    (target / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")


def load_directions(folder: Path) -> dict[str, Direction]:
    """All directions of a model folder by name, from every set in `directions/`.

    Raises:
        ValueError: for records that are not right, vectors that are missing, or names that appear twice.
    """
    found: dict[str, Direction] = {}
    for path in sorted((folder / "directions").glob("*.json")):
        record = json.loads(path.read_text())
        vectors = load_file(path.with_suffix(".safetensors"))
        for entry in record["directions"]:
            name = entry["name"]
            if name in found or name not in vectors:
                raise ValueError(f"the direction {name!r} of {path.name} is there twice, or has no vector")
            found[name] = _from_json(entry, record["method"], vectors[name])
    return found


def _to_json(direction: Direction) -> dict[str, Any]:
    layers = direction.layers
    return {
        "name": direction.name,
        "space": direction.space.value,
        "layers": None if layers is None else format_layers(layers),
        "unit": direction.unit,
        "sigma": direction.sigma,
        "range": list(direction.range),
        "description": direction.description,
        "provenance": direction.provenance,
    }


def _from_json(entry: dict[str, Any], method: str, vector: Any) -> Direction:
    low, high = entry["range"]
    return Direction(
        name=entry["name"],
        space=Space(entry["space"]),
        vector=vector,
        layers=None if entry["layers"] is None else parse_layers(entry["layers"], MAX_LAYERS),
        unit=entry["unit"],
        sigma=float(entry["sigma"]),
        range=(float(low), float(high)),
        method=method,
        description=entry["description"],
        provenance=entry["provenance"],
    )
