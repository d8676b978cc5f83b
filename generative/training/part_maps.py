"""Part maps of a data set: `parts.npy` uint8 (N, H, W) beside its pictures, rendered from the same factors.

A picture with factors needs no map on disk to be labelled: the world paints it again. Maps are painted once,
from the first picture on, and the record counts finished ones, so that an interrupted painting goes on.
"""

from collections.abc import Callable

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from generative.training.atomic import write_text
from generative.training.dataset import DatasetRecord, Portraits
from generative.worlds.portraits import PARTS, render

MAPS, RECORD = "parts.npy", "parts.json"
SHARD = 250  # maps painted at a time


class MapsRecord(BaseModel):
    """What `parts.npy` holds, and how far its painting has come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: DatasetRecord  # of which data set; its `done` is not compared
    parts: tuple[str, ...] = PARTS
    done: int = 0


def render_part_maps(
    portraits: Portraits,
    count: int,
    callback: Callable[[int], None] | None = None,
    device: str = "cpu",
) -> "PartMaps":
    """Paint the maps of the first `count` pictures, or the rest of them, on a device.

    Raises:
        ValueError: the data set has fewer pictures, or its folder has maps of other pictures.
    """
    if count > portraits.record.done:
        raise ValueError(f"{portraits.folder} has {portraits.record.done} pictures, fewer than {count}")
    record = _resume(portraits)
    size = portraits.resolution
    # As long as the data set, so that more can be painted later; what is not painted takes no disk.
    maps = np.lib.format.open_memmap(
        portraits.folder / MAPS,
        mode="r+" if record.done else "w+",
        dtype=np.uint8,
        shape=(portraits.record.count, size, size),
    )
    for start in range(record.done, count, SHARD):
        stop = min(start + SHARD, count)
        factors = portraits.factors(torch.arange(start, stop)).to(device)
        picture = render(factors, size, supersample=1, truth=True)
        assert picture.parts is not None
        maps[start:stop] = picture.parts.cpu().numpy()
        maps.flush()
        record = record.model_copy(update={"done": stop})
        write_text(portraits.folder / RECORD, record.model_dump_json(indent=1))
        if callback is not None:
            callback(stop)
    return PartMaps(portraits)


def _resume(portraits: Portraits) -> MapsRecord:
    wanted = MapsRecord(pictures=portraits.record)
    path = portraits.folder / RECORD
    if not path.exists():
        return wanted
    found = MapsRecord.model_validate_json(path.read_text())
    same = found.pictures.model_copy(update={"done": portraits.record.done}) == portraits.record
    if not same or found.parts != wanted.parts:
        raise ValueError(f"{path} tells of other pictures: delete it and {MAPS} to paint the maps again")
    return found


class PartMaps:
    """The painted maps of a data set, read through a memory map; row i belongs to picture i."""

    def __init__(self, portraits: Portraits) -> None:
        self.record = _resume(portraits)
        self._maps = np.load(portraits.folder / MAPS, mmap_mode="r")

    def __len__(self) -> int:
        """Finished maps, from the first picture on."""
        return self.record.done

    def rows(self, index: Tensor) -> Tensor:
        """(n,) row numbers -> labels (n, H, W) uint8. Raises `IndexError` for maps that are not painted."""
        if len(index) and int(index.max()) >= len(self):
            raise IndexError(f"only {len(self)} maps are painted")
        return torch.from_numpy(self._maps[index.numpy()])
