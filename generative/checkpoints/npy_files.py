"""Numpy's own files, `.npy` and `.npz`, without numpy's reader: no header is evaluated, no pickle is run.

A `.npy` file is a magic number, a version, a header that looks like a Python dictionary, and the numbers; or
a pickle, where the header says that these are objects. Headers that numpy would not have written are refused.
"""

import io
import math
import re
import struct
import zipfile
import zlib
from typing import Any

from generative.checkpoints.allowed import inert, scalar
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.numpy_arrays import array_spec
from generative.checkpoints.pickles import Constructor, Inert, read_pickle
from generative.checkpoints.tensors import MAX_DIMENSIONS, Storage, StorageType, TensorSpec, rebuild_tensor

NPY_START = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # numpy's own limit
MAX_MEMBERS = 64
MAX_UNPACKED_BYTES = 256 * 2**20  # of all members of an archive
MAX_NESTING = 3  # of the lists and dictionaries around arrays

_HEADER = re.compile(
    r"\{'descr': (.{1,200}), 'fortran_order': (True|False), 'shape': \(([0-9L, ]*)\), \} *\n"
)
_SIZES = {"f2": 2, "f4": 4, "f8": 8}


def _encode(text: object, codec: object) -> bytes:
    """`_codecs.encode`, by which Python 2 wrote bytes into newer pickles."""
    if not isinstance(text, str) or codec != "latin1":
        raise CheckpointError("malformed", "broken pickle: bytes in an unknown code")
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise CheckpointError("malformed", "broken pickle: text where bytes should be") from None


#: what pickles of arrays may name; old numpy says `numpy.core`, new numpy `numpy._core`
NUMPY: dict[str, Constructor] = {
    "numpy.dtype": inert("numpy.dtype"),
    "numpy.ndarray": inert("a call of numpy.ndarray"),  # only ever an argument of `_reconstruct`
    "_codecs.encode": _encode,
    **{f"numpy.{core}.multiarray.scalar": scalar for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray._reconstruct": inert("numpy.ndarray") for core in ("core", "_core")},
}


def read_npy(content: bytes | memoryview) -> Any:
    """The array, as a `TensorSpec` that views `content`; or the one object that was saved in place of an
    array.

    Raises:
        CheckpointError: `malformed`, `truncated`, `unsupported_dtype`, `bad_tensor`, and the pickle's.
    """
    dtype, columns, shape, start = _read_header(content)
    if dtype == "'|O'":
        return _only_object(content[start:], shape)
    if dtype[1:2] not in ("<", ">") or dtype[2:-1] not in _SIZES:
        raise CheckpointError("unsupported_dtype", f"an array of {dtype}: floating-point numbers are read")
    size = _SIZES[dtype[2:-1]]
    body = memoryview(content)[start:]
    if len(body) < math.prod(shape) * size:
        raise CheckpointError("truncated", f"{len(body)} bytes for an array of shape {shape}")
    if len(body) > math.prod(shape) * size:
        raise CheckpointError("malformed", "something follows after the end of the array")
    count = range(len(shape))
    stride = [math.prod(shape[:i] if columns else shape[i + 1 :]) for i in count]
    storage = Storage(StorageType(size, dtype[1:-1]), math.prod(shape), body)
    return rebuild_tensor(storage, 0, shape, tuple(stride))


def _read_header(content: bytes | memoryview) -> tuple[str, bool, tuple[int, ...], int]:
    """Number type, whether columns come first, shape, and where the numbers begin."""
    head = bytes(content[:12])
    if not head.startswith(NPY_START) or len(head) < 12:
        raise CheckpointError("malformed", "not an array that numpy wrote")
    version, wide = head[6:8], head[6] > 1
    if version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise CheckpointError("unsupported_format", f"an array file of version {head[6]}.{head[7]}")
    start = 12 if wide else 10
    (length,) = struct.unpack("<I", head[8:12]) if wide else struct.unpack("<H", head[8:10])
    if length > MAX_HEADER_BYTES:
        raise CheckpointError("too_large", f"an array with a header of {length} bytes")
    matched = _HEADER.fullmatch(bytes(content[start : start + length]).decode("latin1"))
    if matched is None:
        raise CheckpointError("malformed", "an array with a header that numpy does not write")
    dtype, columns, sizes = matched.groups()
    shape = tuple(
        int(n.rstrip("L")) for n in sizes.replace(" ", "").split(",") if re.fullmatch(r"\d{1,15}L?", n)
    )
    written = "".join(f"{n}," for n in shape) if len(shape) == 1 else ",".join(map(str, shape))
    if sizes.replace(" ", "").replace("L", "") != written or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError("malformed", "an array whose shape is not a few natural numbers")
    return dtype, columns == "True", shape, start + length


def _only_object(content: bytes | memoryview, shape: tuple[int, ...]) -> Any:
    """The object in an object array of shape (), which is how `np.save` keeps anything else than an array."""
    value = read_numpy_pickle(content, nested=False)
    match value:
        case Inert(name="numpy.ndarray", state=(1, (), Inert(name="numpy.dtype"), False, [only])) if (
            shape == ()
        ):
            return with_arrays(only)
    raise CheckpointError("unsupported_dtype", "an array of objects, where one object or numbers are read")


def read_numpy_pickle(content: bytes | memoryview, nested: bool = True) -> Any:
    """The object in a pickle of arrays, numbers, text, lists and dictionaries; arrays are `TensorSpec`s.

    Raises:
        CheckpointError: `unsafe_pickle`, `malformed`, `bad_tensor`, `unsupported_dtype`.
    """
    stream = io.BytesIO(content)
    value = read_pickle(stream, NUMPY)
    if stream.read(1):
        raise CheckpointError("malformed", "something follows after the end of the pickle")
    return with_arrays(value) if nested else value


def with_arrays(value: Any, depth: int = 0) -> Any:
    """The same with a `TensorSpec` for each array, through lists and dictionaries."""
    if depth > MAX_NESTING:
        raise CheckpointError("malformed", "lists and dictionaries that are nested too deeply")
    if isinstance(value, Inert):
        return array_spec(value)
    if isinstance(value, list | tuple):
        return [with_arrays(entry, depth + 1) for entry in value]
    if isinstance(value, dict):
        return {key: with_arrays(entry, depth + 1) for key, entry in value.items()}
    return value


def read_npz(content: bytes) -> dict[str, TensorSpec]:
    """The arrays of an archive by name, packed or not.

    Raises:
        CheckpointError: `bad_container`, `too_large`, and those of `read_npy`.
    """
    arrays = {name: read_npy(member) for name, member in _unpacked(content).items()}
    for name, array in arrays.items():
        if not isinstance(array, TensorSpec):
            raise CheckpointError("unsupported_dtype", f"{name[:100]!r} holds an object, not numbers")
    return arrays


def _unpacked(content: bytes) -> dict[str, bytes]:
    """The members by name, without their `.npy`. None is unpacked beyond the size that it declares."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        _check_members(archive.infolist(), len(members))
        return {name: archive.read(member) for name, member in members.items()}
    except CheckpointError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
    ) as error:
        raise CheckpointError("bad_container", f"no archive of arrays: {str(error)[:200]}") from None


def _check_members(members: list[zipfile.ZipInfo], names: int) -> None:
    if len(members) > MAX_MEMBERS or sum(m.file_size for m in members) > MAX_UNPACKED_BYTES:
        raise CheckpointError("too_large", f"an archive of more than {MAX_UNPACKED_BYTES} bytes")
    if names < len(members):
        raise CheckpointError("bad_container", "two arrays of the archive have the same name")
    if any(m.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for m in members):
        raise CheckpointError("bad_container", "an archive that is packed in a way that numpy never does")
