"""A folder of rendered portraits: `images.npy` uint8 (N, H, W, 3), `factors.npy` float32 (N, F),
`dataset.json`.

Pictures are rendered shard by shard. Each shard has a seed of its own, and the record counts finished shards,
so that an interrupted rendering goes on where it stopped and ends with the same bytes. A training may read
while it grows.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from generative.pixels import from_uint8, to_uint8
from generative.training.atomic import write_text
from generative.worlds import portraits
from generative.worlds.flat import flattened

RECORD = "dataset.json"


class DatasetRecord(BaseModel):
    """What a folder holds, and how far its rendering has come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: str = "portraits"
    resolution: int
    count: int
    seed: int
    shard: int = 250  # pictures rendered at a time
    done: int = 0  # finished pictures, from the start of the arrays
    factors: tuple[str, ...] = portraits.NAMES
    flat: bool = False  # pictures as `generative.worlds.flat` makes of them


def render_dataset(
    folder: Path,
    record: DatasetRecord,
    callback: Callable[[int], None] | None = None,
) -> None:
    """Render `record.count` portraits into `folder`, or the rest of them.

    Args:
        callback: called with the number of finished pictures after every shard; raise from it to stop.

    Raises:
        ValueError: the folder holds pictures of another record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = _resume(folder, record)
    images, factors = _arrays(folder, record)
    for start in range(record.done, record.count, record.shard):
        stop = min(start + record.shard, record.count)
        factors[start:stop], images[start:stop] = _shard(record, start, stop - start)
        images.flush()
        factors.flush()
        record = record.model_copy(update={"done": stop})
        write_text(folder / RECORD, record.model_dump_json(indent=1))
        if callback is not None:
            callback(stop)


def _resume(folder: Path, record: DatasetRecord) -> DatasetRecord:
    if not (folder / RECORD).exists():
        return record
    found = DatasetRecord.model_validate_json((folder / RECORD).read_text())
    if found.model_copy(update={"done": record.done}) != record:
        raise ValueError(f"{folder} holds another data set: {found}")
    return found


def _arrays(folder: Path, record: DatasetRecord) -> tuple[np.memmap, np.memmap]:
    mode = "r+" if record.done else "w+"
    size = record.resolution
    images = _open(folder / "images.npy", mode, np.uint8, (record.count, size, size, 3))
    return images, _open(folder / "factors.npy", mode, np.float32, (record.count, len(record.factors)))


def _open(path: Path, mode: str, kind: type, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, mode=mode, dtype=kind, shape=shape)
    if array.shape != shape:
        raise ValueError(f"{path} has shape {array.shape}, expected {shape}")
    return array


@torch.no_grad()
def _shard(record: DatasetRecord, start: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (n, F) and pictures (n, H, W, 3) of the shard that begins at `start`."""
    rng = torch.Generator().manual_seed(record.seed * 1_000_003 + start)
    factors = portraits.sample(n, rng)
    rendered = portraits.render(factors, record.resolution, truth=record.flat)
    images = rendered.image if rendered.parts is None else flattened(rendered.image, rendered.parts)
    return factors.numpy(), to_uint8(images).numpy()


class Portraits:
    """A rendered folder, read through memory maps; the first `held_out` pictures are kept from training."""

    def __init__(self, folder: Path, held_out: int = 0) -> None:
        self.folder, self.held_out = folder, held_out
        self.record = DatasetRecord.model_validate_json((folder / RECORD).read_text())
        self._images = np.load(folder / "images.npy", mmap_mode="r")
        self._factors = np.load(folder / "factors.npy", mmap_mode="r")
        if self.record.done <= held_out:
            raise ValueError(
                f"{folder} has {self.record.done} pictures, of which {held_out} shall be held out"
            )

    @property
    def resolution(self) -> int:
        return self.record.resolution

    def __len__(self) -> int:
        """Pictures for training: finished ones without the held-out first ones."""
        return self.record.done - self.held_out

    def refresh(self) -> Self:
        """Count again, for a folder that is still being rendered."""
        self.record = DatasetRecord.model_validate_json((self.folder / RECORD).read_text())
        return self

    def batch(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """n training pictures (n, 3, H, W) in [-1, 1], channels last, and their factors (n, F)."""
        return self.rows(self.draw(n, rng))

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """(n,) row numbers of training pictures."""
        return torch.randint(len(self), (n,), generator=rng) + self.held_out

    def held_out_batches(self, n: int) -> list[tuple[Tensor, Tensor]]:
        """The held-out pictures in batches of at most n."""
        return [self.rows(torch.arange(self.held_out)[i : i + n]) for i in range(0, self.held_out, n)]

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) row numbers -> pictures (n, 3, H, W) in [-1, 1], channels last, and factors (n, F)."""
        return from_uint8(torch.from_numpy(self._images[index.numpy()])), self.factors(index)

    def factors(self, index: Tensor) -> Tensor:
        """(n,) row numbers -> factors (n, F)."""
        return torch.from_numpy(self._factors[index.numpy()])
