"""Plain state dicts, names to tensors, from files of others: networks that are used but not served.

Reads safetensors and both containers of `torch.save`, without executing anything in them. TorchScript
archives (OpenAI's own CLIP files) are programs and are refused: load one with torch where you trust it, and
save its `state_dict()`.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from generative.checkpoints.allowed import TENSORS
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import TensorSpec, make_tensors, rebuild_parameter
from generative.checkpoints.torch_files import STREAM_START, read_torch_stream, read_torch_zip

MAX_BYTES = 2 * 2**30
MAX_HEADER_BYTES = 2**20
ALLOWED = TENSORS | {"torch._utils._rebuild_parameter": rebuild_parameter}


def read_state(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; floating point ones as float32.

    A dictionary with the one key `state_dict` is opened.

    Raises:
        CheckpointError: with the `code` that `generative.checkpoints.errors` lists.
        OSError: if the file cannot be read.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise CheckpointError("too_large", f"the file has {size} bytes, more than {max_bytes}")
    content = path.read_bytes()
    if content.startswith(b"PK\3\4"):
        return _tensors(read_torch_zip(content, ALLOWED), size)
    if content.startswith(STREAM_START):
        return _tensors(read_torch_stream(content, ALLOWED), size)
    if content[8:9] == b"{":
        return _read_safetensors(content)
    raise CheckpointError("unsupported_format", "neither safetensors nor written by torch.save")


def _tensors(root: Any, size: int) -> dict[str, Tensor]:
    if isinstance(root, dict) and set(root) == {"state_dict"}:
        root = root["state_dict"]
    if not isinstance(root, dict) or not root:
        raise CheckpointError("unsupported_format", "the file holds no dictionary of tensors")
    for name, value in root.items():
        if not isinstance(name, str) or not isinstance(value, TensorSpec):
            raise CheckpointError("unsupported_format", f"{str(name)[:100]!r} in the file is not a tensor")
    return make_tensors(root, 4 * size)  # half precision doubles


def _read_safetensors(content: bytes) -> dict[str, Tensor]:
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise CheckpointError("bad_container", f"a safetensors header of {length} bytes")
    try:
        state = load_safetensors(content)
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise CheckpointError("bad_container", f"a broken safetensors file: {str(error)[:200]}") from None
    return {name: _as_float32(name, value) for name, value in state.items()}


def _as_float32(name: str, value: Tensor) -> Tensor:
    if not value.dtype.is_floating_point:
        return value
    value = value.float()
    if not value.isfinite().all():
        raise CheckpointError("non_finite", f"{name[:100]}: NaN, infinity or a number beyond float32")
    return value
