"""TensorFlow checkpoints, `<prefix>.index` and `<prefix>.data-00000-of-00001`, read without TensorFlow.

The index is a sorted table of LevelDB's format: blocks of keys, each shortened by what it shares with the key
before, then an index of the blocks, then a footer. Its values are protocol buffers: under the empty key a
header, under every other the type, shape and place of a tensor, whose numbers lie raw in the data file.

Checksums of the index are verified. Those of the numbers are not: that would take minutes in Python.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import (
    MAX_DIMENSIONS,
    STORAGES,
    Storage,
    StorageType,
    TensorSpec,
    rebuild_tensor,
)

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER_BYTES = 48
MAX_INDEX_BYTES = 4 * 2**20  # of a large model it has some 100 kB
MAX_KEY_BYTES, MAX_ENTRIES = 1024, 100_000
MAX_VARINT_BYTES = 10
_STRING = 7
_TYPES = {  # of tensorflow.DataType
    1: "torch.FloatStorage",
    2: "torch.DoubleStorage",
    3: "torch.IntStorage",
    4: "torch.ByteStorage",
    9: "torch.LongStorage",
    10: "torch.BoolStorage",
    14: "torch.BFloat16Storage",
    19: "torch.HalfStorage",
}


def is_index(content: object) -> bool:
    """Whether this may be the index of a checkpoint."""
    return isinstance(content, bytes) and len(content) > FOOTER_BYTES and content.endswith(MAGIC)


def read_bundle(index: bytes, shards: Sequence[bytes]) -> dict[str, TensorSpec]:
    """The tensors of a checkpoint by their keys, as views of the data files. Strings are left out.

    Args:
        index: content of the `.index` file.
        shards: contents of the `.data-*` files, in order.

    Raises:
        CheckpointError: `malformed`, `truncated`, `too_large`, `bad_container`, `bad_tensor`,
            `unsupported_dtype`, `unsupported_format`.
    """
    entries = dict(_table(index))
    _check_header(entries.pop("", b""), len(shards))
    tensors: dict[str, TensorSpec] = {}
    for key, value in entries.items():
        try:
            tensor = _tensor(value, shards)
        except CheckpointError as error:
            raise CheckpointError(error.code, f"{key[:100]}: {error}") from None
        if tensor is not None:
            tensors[key] = tensor
    return tensors


# --- the table -------------------------------------------------------------------------------------------


def _table(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Keys and values, in the order of the keys."""
    if len(content) > MAX_INDEX_BYTES:
        raise CheckpointError("too_large", f"an index of more than {MAX_INDEX_BYTES} bytes")
    if not is_index(content):
        raise CheckpointError("malformed", "not a table: its end is not that of one")
    footer = content[-FOOTER_BYTES:]
    at = 0
    for _ in range(2):  # where the block of metadata lies, which is empty
        _, at = _varint(footer, at)
    blocks = _entries(_block(content, footer, at, 0)[0])
    end, last, count = 0, None, 0
    for _, place in blocks:
        block, end = _block(content, place, 0, end)
        for key, value in _entries(block):
            count += 1
            if count > MAX_ENTRIES:
                raise CheckpointError("too_large", f"a table of more than {MAX_ENTRIES} entries")
            if last is not None and key <= last:
                raise CheckpointError("malformed", "the keys of the table are not in order")
            last = key
            yield _text(key), value


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise CheckpointError("malformed", "a key of the table is not text") from None


def _block(content: bytes, place: bytes, at: int, least: int) -> tuple[bytes, int]:
    """The block whose offset and size are at `at` of `place`, and where it ends. It must not start before
    `least`: blocks that overlap would make a large table of a small file.
    """
    start, at = _varint(place, at)
    size, _ = _varint(place, at)
    end = start + size + 5  # kind of compression and checksum follow
    if start < least or end > len(content) - FOOTER_BYTES:
        raise CheckpointError(
            "truncated", "a block of the table lies outside of the file, or in another block"
        )
    kind, checksum = struct.unpack("<BI", content[end - 5 : end])
    if kind:
        raise CheckpointError("unsupported_format", "a compressed table, which TensorFlow does not write")
    if masked_crc32c(content[start : end - 4]) != checksum:
        raise CheckpointError("bad_container", "the checksum of a block of the table is wrong")
    return content[start : start + size], end


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. Its end lists where whole keys are, which only searching needs."""
    restarts = struct.unpack("<I", block[-4:])[0] if len(block) >= 4 else 0
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise CheckpointError("truncated", "a block of the table is shorter than it says")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + own + size > end or shared + own > MAX_KEY_BYTES:
            raise CheckpointError("malformed", "an entry of the table that does not fit")
        key = key[:shared] + block[at : at + own]
        at += own + size
        yield key, block[at - size : at]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, low ones first, and where it ends."""
    value = 0
    for i, byte in enumerate(content[at : at + MAX_VARINT_BYTES]):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise CheckpointError("malformed", "a number without an end")


# --- values ----------------------------------------------------------------------------------------------


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of the fields of a protocol buffer: integers as they are, all else as bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size = 0
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case _:
                raise CheckpointError("malformed", "a protocol buffer with an unknown kind of field")
        if at + size > len(message):
            raise CheckpointError("truncated", "a protocol buffer ends inside of a field")
        yield tag >> 3, message[at : at + size]
        at += size


def _integers(message: bytes) -> dict[int, int]:
    """The integer fields by number; of a field that is repeated the last, as everywhere."""
    return {number: value for number, value in _fields(message) if isinstance(value, int)}


def _check_header(header: bytes, shards: int) -> None:
    fields = _integers(header)
    if fields.get(2, 0):
        raise CheckpointError("unsupported_format", "weights with the byte order of another machine")
    if fields.get(1, 0) != shards:
        raise CheckpointError("truncated", f"{fields.get(1, 0)} data files by the index, not {shards}")


@dataclass(frozen=True)
class _Entry:
    """tensorflow.BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def _entry(message: bytes) -> _Entry:
    numbers, shape = _integers(message), []
    for number, value in _fields(message):
        if number == 7:
            raise CheckpointError("unsupported_format", "a variable that is stored in slices")
        if number == 2 and isinstance(value, bytes):
            dims = [part for at, part in _fields(value) if at == 2 and isinstance(part, bytes)]
            shape = [_integers(dim).get(1, 0) for dim in dims]
    return _Entry(numbers.get(1, 0), tuple(shape), numbers.get(3, 0), numbers.get(4, 0), numbers.get(5, 0))


def _tensor(message: bytes, shards: Sequence[bytes]) -> TensorSpec | None:
    entry = _entry(message)
    if entry.dtype == _STRING:
        return None
    if entry.dtype not in _TYPES:
        raise CheckpointError("unsupported_dtype", f"numbers of TensorFlow's type {entry.dtype}")
    kind = StorageType(*STORAGES[_TYPES[entry.dtype]])
    count, rest = divmod(entry.size, kind.itemsize)
    if len(entry.shape) > MAX_DIMENSIONS or rest or count != math.prod(entry.shape):
        raise CheckpointError("bad_tensor", f"{entry.size} bytes for a tensor of shape {entry.shape[:8]}")
    if entry.shard >= len(shards) or entry.offset + entry.size > len(shards[entry.shard]):
        raise CheckpointError("truncated", "the numbers of a tensor lie outside of the data file")
    content = memoryview(shards[entry.shard])[entry.offset : entry.offset + entry.size]
    strides = tuple(math.prod(entry.shape[i + 1 :]) for i in range(len(entry.shape)))
    return rebuild_tensor(Storage(kind, count, content), 0, entry.shape, strides)


# --- checksums -------------------------------------------------------------------------------------------


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, bits reversed
        table.append(byte)
    return tuple(table)


_CRC_TABLE = _crc_table()


def masked_crc32c(content: bytes) -> int:
    """CRC-32C as LevelDB stores it: turned, and with a constant added."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC_TABLE[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
