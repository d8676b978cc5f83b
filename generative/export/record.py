"""What is written down of an export: `export.json` beside its files."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Target = Literal["onnx", "triton", "tensorrt"]
RECORD, WEIGHTS = "export.json", "weights.bin"
MAX_BATCH = 32  # rows that a server of an export takes at a time


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Port(_Record):
    """An input or output. The first axis of `shape`, the batch, is left out."""

    name: str
    dtype: str  # as numpy calls it
    shape: tuple[int, ...]


class Error(_Record):
    """How far a graph is from torch in float32 on fixed inputs."""

    relative: float | None = None  # largest difference by largest value, of floats
    mean_levels: float | None = None  # of pictures, in steps of 255
    max_levels: float | None = None


class GraphFile(_Record):
    """One graph, where it is and what it takes."""

    file: str  # in the folder of the record; for Triton the name of the model
    inputs: tuple[Port, ...]
    output: Port
    error: Error


class Export(_Record):
    """Everything in `export.json`."""

    target: Target
    model: str
    model_sha256: str  # of the weights that were exported: for others it is out of date
    precision: Literal["fp32", "fp16", "bf16"]
    output: Literal["uint8", "float"]
    upsampling: Literal["transposed", "polyphase"]
    opset: int
    checked_with: str  # what computed the graphs for `error`: a provider of ONNX Runtime, or torch
    checked_batches: tuple[int, ...]
    pictures_per_s: dict[str, float] = {}  # on the machine that exported, by turns: torch, onnx
    pixel_gain: float
    pixel_offset: float
    graphs: dict[str, GraphFile]


def read_record(folder: Path) -> Export:
    """Raises FileNotFoundError, or ValueError if it is not right."""
    return Export.model_validate_json((folder / RECORD).read_text())


def write_record(folder: Path, record: Export) -> None:
    """In one step, after everything that it speaks of: a folder with a record is a complete export."""
    part = folder / f"{RECORD}.part"
    part.write_text(record.model_dump_json(indent=1) + "\n")
    part.replace(folder / RECORD)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
