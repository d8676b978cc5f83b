"""Tensors as pickles describe them, checked on paper before any is made.

Mirrors `torch._utils._rebuild_tensor_v2`: a storage of numbers, and an offset, size and stride that view it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import Global

MAX_DIMENSIONS = 8
#: torch's names of typed storages -> bytes of one number, and numpy's type; bfloat16 is widened by hand
STORAGES = {
    "torch.FloatStorage": (4, "<f4"),
    "torch.DoubleStorage": (8, "<f8"),
    "torch.HalfStorage": (2, "<f2"),
    "torch.BFloat16Storage": (2, "bfloat16"),
    "torch.LongStorage": (8, "<i8"),
    "torch.IntStorage": (4, "<i4"),
    "torch.ByteStorage": (1, "|u1"),
    "torch.BoolStorage": (1, "|b1"),
}
OTHER_STORAGES = (
    "torch.CharStorage",
    "torch.ShortStorage",
    "torch.ComplexFloatStorage",
    "torch.ComplexDoubleStorage",
)


@dataclass(frozen=True)
class StorageType:
    """An allowed name such as `torch.FloatStorage`, which only ever appears inside persistent ids."""

    itemsize: int
    dtype: str


@dataclass
class Storage:
    """A run of numbers. `content` may be filled in after the pickle was read: old streams put it last."""

    type: StorageType
    count: int
    content: memoryview | None = None

    def numbers(self) -> np.ndarray[Any, Any]:
        """(count,) numpy array, a view of the file where that is possible."""
        if self.content is None or len(self.content) != self.count * self.type.itemsize:
            raise CheckpointError("truncated", "the numbers of a storage are missing or too short")
        if self.type.dtype == "bfloat16":  # the upper half of a float32
            return (np.frombuffer(self.content, "<u2").astype("<u4") << 16).view("<f4")
        return np.frombuffer(self.content, self.type.dtype)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that has been described and checked, but not made."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def make(self) -> Tensor:
        """A copy of its own: tensors that shared a storage no longer do. Floats become float32.

        Raises:
            CheckpointError: `non_finite`, `truncated`.
        """
        numbers = self.storage.numbers()
        strides = tuple(s * numbers.itemsize for s in self.stride)
        view = np.lib.stride_tricks.as_strided(numbers[self.offset :], self.size, strides, writeable=False)
        if not np.issubdtype(view.dtype, np.floating):
            return torch.from_numpy(np.array(view))
        with np.errstate(over="ignore"):
            copy = np.array(view, dtype=np.float32)
        if not np.isfinite(copy).all():
            raise CheckpointError("non_finite", "NaN, infinity or a number beyond float32")
        return torch.from_numpy(copy)


def described_storage(key: object) -> tuple[Storage, str]:
    """The storage, still without content, and its key, from torch's persistent id
    `('storage', type, key, location, count[, view])`.

    Raises:
        CheckpointError: `unsafe_pickle`, `unsupported_dtype`.
    """
    match key:
        case ("storage", Global(name=name), str(place), str(), int(count)) if count >= 0:
            pass
        case ("storage", Global(name=name), str(place), str(), int(count), None) if count >= 0:
            pass
        case _:
            raise CheckpointError("unsafe_pickle", "a persistent id that is not a storage of torch")
    if name not in STORAGES:
        raise CheckpointError("unsupported_dtype", f"numbers of type {name}")
    return Storage(StorageType(*STORAGES[name]), count), place


def rebuild_tensor(
    storage: object, offset: object, size: object, stride: object, _requires_grad: object = False, *_: object
) -> TensorSpec:
    """`torch._utils._rebuild_tensor_v2` on paper: every number is checked against the storage.

    Raises:
        CheckpointError: `bad_tensor`.
    """
    if not isinstance(storage, Storage):
        raise CheckpointError("bad_tensor", "a tensor without a storage")
    sizes, strides = _naturals(size), _naturals(stride)
    [start] = _naturals((offset,))
    if len(sizes) != len(strides) or len(sizes) > MAX_DIMENSIONS:
        raise CheckpointError("bad_tensor", "size and stride of a tensor do not go together")
    if math.prod(sizes) > storage.count:
        raise CheckpointError("bad_tensor", f"a tensor of shape {sizes} over {storage.count} stored numbers")
    steps = sum((n - 1) * s for n, s in zip(sizes, strides, strict=True)) + 1
    end = start + steps if math.prod(sizes) else start
    if end > storage.count:
        raise CheckpointError("bad_tensor", f"a tensor ends at {end} of {storage.count} stored numbers")
    return TensorSpec(storage, start, sizes, strides)


def rebuild_parameter(value: object, _requires_grad: object = False, *_: object) -> TensorSpec:
    """`torch._utils._rebuild_parameter`: to us a parameter is its tensor."""
    if not isinstance(value, TensorSpec):
        raise CheckpointError("bad_tensor", "a parameter without a tensor")
    return value


def make_tensors(specs: Mapping[str, TensorSpec], max_bytes: int) -> dict[str, Tensor]:
    """Make them all, unless together they are larger than `max_bytes`: many may view one storage."""
    if sum(4 * math.prod(spec.size) for spec in specs.values()) > max_bytes:
        raise CheckpointError("too_large", f"the tensors are larger than {max_bytes} bytes")
    return dict(_make_each(specs))


def _make_each(specs: Mapping[str, TensorSpec]) -> Iterator[tuple[str, Tensor]]:
    for name, spec in specs.items():
        try:
            yield name, spec.make()
        except CheckpointError as error:
            raise CheckpointError(error.code, f"{name[:100]}: {error}") from None


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(type(v) is int and 0 <= v < 2**40 for v in values):
        raise CheckpointError("bad_tensor", "a size, stride or offset that is not a tuple of natural numbers")
    return values
