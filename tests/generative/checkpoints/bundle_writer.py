"""A writer of TensorFlow checkpoints, from the formats; the reader shares nothing with it."""

import struct

import numpy as np

MAGIC = bytes.fromhex("57fb808b247547db")
TYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10, "float16": 19}


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def crc32c(message):
    """The remainder of a division of polynomials over two elements, each byte with its low bit first."""
    bits = 8 * len(message)
    number = int("".join(f"{byte:08b}"[::-1] for byte in message) or "0", 2) << 32
    number ^= 0xFFFFFFFF << bits
    for i in range(bits - 1, -1, -1):
        if number >> (i + 32) & 1:
            number ^= 0x11EDC6F41 << i
    return int(f"{number:032b}"[::-1], 2) ^ 0xFFFFFFFF


def trailer(block, kind=0):
    crc = crc32c(block + bytes([kind]))
    turned = (crc >> 15) | ((crc & 0x7FFF) << 17)
    return bytes([kind]) + struct.pack("<I", (turned + 0xA282EAD8) % 2**32)


def block(entries, every=4):
    """Entries (key, value); every fourth key is whole."""
    out, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % every == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        own = key[shared:]
        out += varint(shared) + varint(len(own)) + varint(len(value)) + own + value
        last = key
    restarts = restarts or [0]
    return out + b"".join(struct.pack("<I", r) for r in restarts) + struct.pack("<I", len(restarts))


def table(entries, per_block=5, kind=0):
    """A whole table of entries (key, value) in the order given."""
    out, places = b"", []
    for start in range(0, len(entries), per_block):
        part = entries[start : start + per_block]
        written = block(part)
        places.append((part[-1][0], varint(len(out)) + varint(len(written))))
        out += written + trailer(written, kind)
    return finish(out, places)


def finish(out, places):
    """The end of a table whose blocks are written: the empty metadata, the index of `places`, the footer."""
    footer = b""
    for written in (block([]), block(places, every=1)):
        footer += varint(len(out)) + varint(len(written))
        out += written + trailer(written)
    return out + footer.ljust(40, b"\0") + MAGIC


def number(field, value):
    return varint(8 * field) + varint(value % 2**64)


def message(field, content):
    return varint(8 * field + 2) + varint(len(content)) + content


def entry(dtype, shape, offset, size, shard=0, checksum=12345):
    dims = b"".join(message(2, number(1, n) if n else b"") for n in shape)  # proto3 leaves zeros out
    parts = [number(1, dtype), message(2, dims), number(3, shard) if shard else b""]
    parts += [number(4, offset) if offset else b"", number(5, size), varint(8 * 6 + 5)]
    return b"".join(parts) + struct.pack("<I", checksum)


HEADER = number(1, 1) + message(3, number(1, 1))  # one shard; the version


def bundle(tensors, header=HEADER):
    """The index and the data of a checkpoint of arrays by key; bytes are one string each."""
    data, entries = b"", [(b"", header)]
    for key, value in sorted(tensors.items()):
        raw = value if isinstance(value, bytes) else np.ascontiguousarray(value).tobytes()
        dtype, shape = (7, ()) if isinstance(value, bytes) else (TYPES[value.dtype.name], value.shape)
        entries.append((key.encode(), entry(dtype, shape, len(data), len(raw))))
        data += raw
    return table(entries), data
