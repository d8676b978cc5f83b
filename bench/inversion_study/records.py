"""What a study has measured so far, in a folder: a run that was broken off goes on.

<folder>/<what>/<batch>.json         scores of each picture of a batch, curves, costs
<folder>/<what>/<batch>.safetensors  the pictures themselves, as bytes

A batch is named by the number of its first picture.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.inversion_study.subjects import Row
from generative.pixels import to_uint8
from generative.training.atomic import write_text


@dataclass(frozen=True)
class Record:
    """Of one or more batches."""

    rows: list[Row]
    curves: dict[str, list[float]] = field(default_factory=dict)  # means over the pictures

    @property
    def mean(self) -> Row:
        """Of every score."""
        return {name: sum(row[name] for row in self.rows) / len(self.rows) for name in self.rows[0]}


class Records:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, what: str, batch: int) -> bool:
        return self._path(what, batch, "json").is_file()

    def put(self, what: str, batch: int, record: Record, images: Mapping[str, Tensor]) -> None:
        """images: (N, 3, H, W) by name. The record comes last: where it is, all is."""
        path = self._path(what, batch, "json")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = {name: to_uint8(t.cpu()).contiguous() for name, t in images.items()}
        save_file(pixels, path.with_suffix(".safetensors"))
        write_text(path, json.dumps(asdict(record)))

    def get(self, what: str, below: int | None = None) -> Record | None:
        """All batches, or those that begin below a number, as one; None if there is none."""
        parts = [self._read(path) for path in self._paths(what, below)]
        if not parts:
            return None
        curves = {
            name: torch.tensor([part.curves[name] for part in parts]).mean(dim=0).tolist()
            for name in parts[0].curves
        }
        return Record([row for part in parts for row in part.rows], curves)

    def next_batch(self, what: str) -> int:
        """The number of the first portrait that was not measured, in a run without gaps."""
        return sum(len(self._read(path).rows) for path in self._paths(what))

    def pictures(self, what: str, name: str) -> Tensor | None:
        """(N, H, W, 3) uint8 of all batches; None if there are none of that name."""
        files = [load_file(path.with_suffix(".safetensors")) for path in self._paths(what)]
        found = [file[name] for file in files if name in file]
        return torch.cat(found) if found else None

    def _read(self, path: Path) -> Record:
        return Record(**json.loads(path.read_text()))

    def _path(self, what: str, batch: int, kind: str) -> Path:
        return self.folder / what / f"{batch:03d}.{kind}"

    def _paths(self, what: str, below: int | None = None) -> list[Path]:
        paths = sorted((self.folder / what).glob("*.json"))
        return [path for path in paths if below is None or int(path.stem) < below]
