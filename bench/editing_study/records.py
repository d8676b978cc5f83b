"""What a study has measured so far, in a folder: a run that was broken off goes on.

<folder>/<what>.json         scores
<folder>/<what>.safetensors  the pictures that are shown
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.editing_study.editors import Way
from bench.editing_study.measuring import Score
from bench.editing_study.people import People
from generative.discovery.annotation import Look
from generative.training.atomic import write_text


class Records:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, way: Way, factor: str, score: Score, pictures: Tensor) -> None:
        """pictures: (N, H, W, 3) uint8. The score comes last: where it is, all is."""
        path = self._path(way, factor)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"edited": pictures.contiguous()}, path.with_suffix(".safetensors"))
        write_text(path.with_suffix(".json"), json.dumps(asdict(score)))

    def get(self, way: Way, factor: str) -> Score | None:
        path = self._path(way, factor).with_suffix(".json")
        return Score(**json.loads(path.read_text())) if path.is_file() else None

    def pictures(self, way: Way, factor: str) -> Tensor | None:
        path = self._path(way, factor).with_suffix(".safetensors")
        return load_file(path)["edited"] if path.is_file() else None

    def note(self, what: str, numbers: dict[str, float] | None = None) -> dict[str, float] | None:
        """Numbers of something else than an edit: kept if given, and read."""
        path = self.folder / f"{what}.json"
        if numbers is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(numbers))
        return json.loads(path.read_text()) if path.is_file() else None

    def people(self, what: str, draw: Callable[[], People]) -> People:
        """Drawn once."""
        path = self.folder / f"{what}.safetensors"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            found = draw()
            named = {f"read {name}": values for name, values in found.seen.readings.items()}
            parts = {"z": found.z, "ws": found.ws, "features": found.seen.features} | named
            save_file({name: part.contiguous() for name, part in parts.items()}, path)
        kept = load_file(path)
        readings = {name[5:]: values for name, values in kept.items() if name.startswith("read ")}
        return People(kept["z"], kept["ws"], Look(kept["features"], readings))

    def _path(self, way: Way, factor: str) -> Path:
        method, space = way
        return self.folder / f"{method.replace(' ', '_').replace(',', '')}-{space}" / factor
