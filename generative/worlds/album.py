"""An album: a folder of rendered portraits with everything that is known about them.

images/00000.png     the pictures; with several views of each head, 00000_0.png, 00000_1.png, ...
parts/00000.png      and depth/, normals/: the truth that was asked for, see `generative.worlds.png`
portraits.parquet    a row for each picture: file, head, view, camera, caption, and every factor
sheet.png            the first pictures on one sheet

The table says what the pictures will be, so it is written first. Pictures follow in batches, and nothing but
the factors is held in memory, so an album may be as long as the disk allows. An album that was interrupted
goes on: the same request in the same folder paints what is missing.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from generative.worlds import png
from generative.worlds.portraits import FACTORS, PARTS, Camera, caption, columns, matrix, render, sample

Truth = Literal["parts", "depth", "normals"]
TABLE, SHEET, KEY = "portraits.parquet", "sheet.png", b"ganserve.album"
HEADS_AT_ONCE = 32
WRITERS: dict[str, Callable[[Path, Tensor], None]] = {
    "image": png.write_image,
    "parts": png.write_parts,
    "depth": png.write_depth,
    "normals": png.write_normals,
}
FOLDERS = {"image": "images", "parts": "parts", "depth": "depth", "normals": "normals"}


class Request(BaseModel):
    """What an album shall hold. The same request gives the same bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    heads: int = Field(gt=0)
    size: int = Field(64, gt=0)
    seed: int = 0
    independent: bool = False  # draw all factors independently
    truth: tuple[Truth, ...] = ("parts",)
    views: int = Field(1, gt=0)  # of each head
    arc: float = Field(120.0, gt=0, le=360)  # degrees that the views span around the front
    supersample: int = Field(2, gt=0)

    def factors(self) -> Tensor:
        """(heads, F)."""
        return sample(self.heads, torch.Generator().manual_seed(self.seed), self.independent)

    def cameras(self) -> list[Camera]:
        """One for each view, evenly spaced from the viewer's left; a full circle begins at the front."""
        if self.views == 1:
            return [Camera()]
        arc = math.radians(self.arc)
        if self.arc == 360:
            return [Camera(yaw=arc * i / self.views) for i in range(self.views)]
        return [Camera(yaw=arc * (i / (self.views - 1) - 0.5)) for i in range(self.views)]

    def name(self, head: int, view: int) -> str:
        """File name of a picture and its truth, in the folder of each."""
        number = f"{head:0{max(5, len(str(self.heads - 1)))}d}"
        return f"{number}.png" if self.views == 1 else f"{number}_{view}.png"


def write_album(
    folder: Path,
    request: Request,
    device: str = "cpu",
    callback: Callable[[int], None] | None = None,
) -> None:
    """Write an album, or the rest of it.

    Args:
        callback: called with the number of finished heads after every batch; raise from it to stop.

    Raises:
        ValueError: the folder holds something else than an album of this request.
    """
    _claim(folder, request)
    factors = request.factors()
    _write_table(folder / TABLE, request, factors)
    for kind in ("image", *request.truth):
        (folder / FOLDERS[kind]).mkdir(exist_ok=True)
    for start in range(_finished(folder, request), request.heads, HEADS_AT_ONCE):
        batch = factors[start : start + HEADS_AT_ONCE].to(device)
        _write_batch(folder, request, start, batch)
        if callback is not None:
            callback(start + len(batch))
    png.write_pixels(folder / SHEET, _sheet(folder, request))


def read_request(folder: Path) -> Request:
    """The request of an album. Raises `ValueError` if the folder holds none."""
    try:
        metadata = pq.read_schema(folder / TABLE).metadata or {}
        return Request.model_validate_json(metadata[KEY])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{folder} holds no album") from error


def read_factors(table: pa.Table) -> Tensor:
    """The factors (rows, F) of an album's table or a part of it, exactly as they were rendered."""
    values = {}
    for factor in FACTORS:
        column = table[factor.name].to_pylist()
        if factor.kind == "categorical":
            column = [factor.values.index(value) for value in column]
        values[factor.name] = torch.tensor(column, dtype=torch.float32)
    return matrix(values)


def read_cameras(table: pa.Table) -> list[Camera]:
    """The camera of each row."""
    rows = table.select(["camera_yaw", "camera_pitch", "camera_half_height", "camera_target"]).to_pylist()
    return [Camera(yaw, pitch, half, tuple(target)) for yaw, pitch, half, target in map(dict.values, rows)]


def _claim(folder: Path, request: Request) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / TABLE).exists():
        found = read_request(folder)
        if found != request:
            raise ValueError(f"{folder} holds another album: {found}")
    elif any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and holds no album: name another folder")


def _finished(folder: Path, request: Request) -> int:
    """How many heads need no painting. The last batch with files may have a half-written one: not counted."""
    last = FOLDERS[(("image", *request.truth))[-1]]
    starts = range(0, request.heads, HEADS_AT_ONCE)
    begun = sum((folder / last / request.name(start, 0)).exists() for start in starts)
    return max(0, begun - 1) * HEADS_AT_ONCE


def _write_batch(folder: Path, request: Request, start: int, factors: Tensor) -> None:
    for view, camera in enumerate(request.cameras()):
        drawn = render(factors, request.size, request.supersample, camera, truth=bool(request.truth))
        for kind in ("image", *request.truth):
            for head, content in enumerate(getattr(drawn, kind).cpu(), start):
                WRITERS[kind](folder / FOLDERS[kind] / request.name(head, view), content)


def _write_table(path: Path, request: Request, factors: Tensor) -> None:
    about = {KEY: request.model_dump_json(), b"ganserve.parts": ",".join(PARTS)}
    schema = SCHEMA.with_metadata(about)
    partial = path.with_name(path.name + ".partial")
    with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for rows in _rows(request, factors):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    partial.replace(path)


def _rows(request: Request, factors: Tensor) -> Iterator[list[dict[str, object]]]:
    """Rows of the table, some heads at a time."""
    cameras = request.cameras()
    for start in range(0, len(factors), 1024):
        some = factors[start : start + 1024]
        words, values = caption(some, request.seed), {n: c.tolist() for n, c in columns(some).items()}
        yield [
            {
                "file": f"{FOLDERS['image']}/{request.name(start + i, view)}",
                "head": start + i,
                "view": view,
                "camera_yaw": camera.yaw,
                "camera_pitch": camera.pitch,
                "camera_half_height": camera.half_height,
                "camera_target": list(camera.target),
                "caption": words[i],
            }
            | {f.name: _told(f.kind, f.values, values[f.name][i]) for f in FACTORS}
            for i in range(len(some))
            for view, camera in enumerate(cameras)
        ]


def _told(kind: str, values: tuple[str, ...], value: float) -> object:
    """A factor as the table has it: a number, yes or no, or the name of a category."""
    if kind == "continuous":
        return value
    return bool(value) if kind == "binary" else values[int(value)]


_TYPES = {"continuous": pa.float32(), "binary": pa.bool_(), "categorical": pa.string()}
SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("head", pa.int32()),
        ("view", pa.int32()),
        ("camera_yaw", pa.float64()),
        ("camera_pitch", pa.float64()),
        ("camera_half_height", pa.float64()),
        ("camera_target", pa.list_(pa.float64(), 3)),
        ("caption", pa.string()),
        *((factor.name, _TYPES[factor.kind]) for factor in FACTORS),
    ]
)


def _sheet(folder: Path, request: Request, across: int = 8) -> np.ndarray:
    """At most 8 rows (H, W, 3): of heads, or, with several views, a head in each row."""
    width = across if request.views == 1 else request.views
    names = [request.name(head, view) for head in range(request.heads) for view in range(request.views)]
    pictures = [png.read_pixels(folder / FOLDERS["image"] / name) for name in names[: 8 * width]]
    empty = np.full_like(pictures[0], 255)
    rows = [pictures[i : i + width] for i in range(0, len(pictures), width)]
    full = len(rows[0])
    return np.vstack([np.hstack(row + [empty] * (full - len(row))) for row in rows])
