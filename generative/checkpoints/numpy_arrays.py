"""Numpy arrays as pickles describe them, on paper: nothing is copied before a tensor is made of one.

`numpy.ndarray.__reduce__` writes a call of `_reconstruct`, and then a state: version, shape, number type,
whether columns come first, and the numbers. The number type has arguments and a state of its own. `allowed`
keeps all of that as `Inert`; here it is checked.
"""

import math
import struct

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import Inert
from generative.checkpoints.tensors import MAX_DIMENSIONS, Storage, StorageType, TensorSpec, rebuild_tensor

_TYPES = {name: StorageType(int(name[1]), f"<{name}") for name in ("f4", "f8", "i4", "i8")}


def array_spec(value: object) -> TensorSpec:
    """An array of floats or integers. A numpy float, which is a plain one by now, has the shape ().

    Raises:
        CheckpointError: `bad_tensor`, `unsupported_dtype`.
    """
    match value:
        case float():
            return _checked_spec((), _TYPES["f8"], False, struct.pack("<d", value))
        case Inert(
            name="numpy.ndarray", state=(1, tuple(shape), Inert() as dtype, bool(columns), bytes(content))
        ):
            return _checked_spec(shape, _number_type(dtype), columns, content)
    raise CheckpointError("bad_tensor", "something else than an array of numbers where one should be")


def _number_type(dtype: Inert) -> StorageType:
    """The type behind `dtype("f4", False, True)` with the state `(3, "<", None, None, None, ...)`."""
    match dtype:
        case Inert(name="numpy.dtype", args=(str(name), *_), state=(3, "<", None, None, None, *_)):
            if name in _TYPES:
                return _TYPES[name]
    raise CheckpointError("unsupported_dtype", "an array of something else than little-endian numbers")


def _checked_spec(shape: tuple[object, ...], kind: StorageType, columns: bool, content: bytes) -> TensorSpec:
    sizes = [n for n in shape if type(n) is int and 0 <= n < 2**40]
    if len(sizes) != len(shape) or len(sizes) > MAX_DIMENSIONS:
        raise CheckpointError("bad_tensor", "the shape of an array is not a few natural numbers")
    if math.prod(sizes) * kind.itemsize != len(content):
        raise CheckpointError("bad_tensor", f"an array of shape {tuple(sizes)} over {len(content)} bytes")
    if columns:
        stride = [math.prod(sizes[:i]) for i in range(len(sizes))]
    else:
        stride = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    storage = Storage(kind, math.prod(sizes), memoryview(content))
    return rebuild_tensor(storage, 0, tuple(sizes), tuple(stride))
