"""What is in a file of directions, whichever container it has: plain values, and `TensorSpec`s for arrays."""

import io
import struct
import zipfile
from typing import Any

from generative.checkpoints.allowed import TORCH
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.npy_files import NPY_START, read_npy, read_npz, read_numpy_pickle
from generative.checkpoints.torch_files import STREAM_START, read_torch_stream, read_torch_zip

MAX_BYTES = 64 * 2**20
ZIP_START, PICKLE_START = b"PK\3\4", b"\x80"


def open_file(content: bytes) -> Any:
    """What was saved in a `.npy`, `.npz`, `.pt` or `.pkl` file.

    Raises:
        CheckpointError: `unsupported_format`, `too_large`, and those of the containers.
    """
    if len(content) > MAX_BYTES:
        raise CheckpointError("too_large", f"a file of directions may have {MAX_BYTES} bytes")
    if content.startswith(NPY_START):
        return read_npy(content)
    if content.startswith(ZIP_START):
        return read_npz(content) if _holds_arrays(content) else read_torch_zip(content, TORCH)
    if content.startswith(STREAM_START):
        return read_torch_stream(content, TORCH)
    if content.startswith(PICKLE_START):
        return read_numpy_pickle(content)
    raise CheckpointError(
        "unsupported_format", "not a file of directions: those of numpy, torch and pickle are read"
    )


def _holds_arrays(content: bytes) -> bool:
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
        raise CheckpointError("truncated", f"no complete zip archive: {str(error)[:200]}") from None
    return bool(names) and all(name.endswith(".npy") for name in names)
