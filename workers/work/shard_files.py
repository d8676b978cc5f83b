"""The files of one shard: for each split a tar and, beside it, a Parquet table with a row for each picture.

The table says where in the tar each picture's bytes begin, so that one can be read by a range alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.factors import BINARY, CATEGORICAL, CONTINUOUS
from workers.tar import TarWriter
from workers.work.members import Made

MEDIA_TYPES = {"tar": "application/x-tar", "parquet": "application/vnd.apache.parquet"}
FILE = tuple[Path, str, str, dict[str, Any]]  # path, role, media type, what is told of it


def schema(attributes: bool) -> pa.Schema:
    """The columns of a table."""
    columns = [
        ("key", pa.string()),
        ("file", pa.string()),
        ("variant", pa.string()),
        ("index", pa.int64()),
        ("seed", pa.int64()),
        ("split", pa.string()),
        ("share", pa.string()),
        ("tries", pa.int32()),
        ("met", pa.bool_()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
    ]
    if attributes:
        columns += [(f"factor_{name}", pa.float64()) for name in (*CONTINUOUS, *BINARY)]
        columns += [(f"factor_{name}", pa.string()) for name in CATEGORICAL]
    return pa.schema(columns)


@dataclass
class _Split:
    path: Path
    file: BinaryIO
    tar: TarWriter
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    samples: int = 0


class ShardFiles:
    """Takes samples in order; `close` gives the files."""

    def __init__(self, folder: Path, place: int, attributes: bool) -> None:
        self._folder, self._place, self._schema = folder, place, schema(attributes)
        self._splits: dict[str, _Split] = {}

    def add(self, made: Made) -> None:
        if made.split not in self._splits:
            path = self._folder / f"{made.split}-{self._place:06d}.tar"
            file = path.open("wb", buffering=1 << 20)
            self._splits[made.split] = _Split(path, file, TarWriter(file))
        split = self._splits[made.split]
        starts = {name: split.tar.add(f"{made.key}.{name}", body) for name, body in made.files.items()}
        split.samples += 1
        split.rows += [{"key": made.key, "offset": starts[row["file"]], **row} for row in made.rows]

    def close(self) -> Iterator[FILE]:
        """Every file, complete."""
        for name, split in sorted(self._splits.items()):
            split.tar.close()
            split.file.close()
            about = {"split": name, "samples": split.samples, "pictures": len(split.rows)}
            yield split.path, "shard", MEDIA_TYPES["tar"], about
            table = split.path.with_suffix(".parquet")
            pq.write_table(pa.Table.from_pylist(split.rows, schema=self._schema), table, compression="zstd")
            yield table, "table", MEDIA_TYPES["parquet"], about
