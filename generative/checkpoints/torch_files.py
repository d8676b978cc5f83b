"""What `torch.save` writes, in both of its containers, read without torch's own unpickler.

* zip (torch >= 1.6): `<any name>/data.pkl`, and the numbers of each storage in `<any name>/data/<key>`;
* stream (before): five pickles one after another (magic number, protocol, system, the object, storage keys),
  then each storage in the order of the keys, its count before it.
"""

import io
import struct
from collections.abc import Mapping
from typing import Any

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.pickles import Constructor, Global, read_pickle
from generative.checkpoints.tensors import Storage, described_storage
from generative.checkpoints.zips import read_members

STREAM_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of torch's magic number
STREAM_PROTOCOL = 1001


def read_torch_zip(content: bytes, allowed: Mapping[str, Constructor]) -> Any:
    """The object in a zip container; tensors are `TensorSpec`s that view `content`.

    Raises:
        CheckpointError: `bad_container`, `unsafe_pickle`, `unsupported_format` (TorchScript), and the
            pickle's.
    """
    return read_torch_members(read_members(content), allowed)


def root_of(members: Mapping[str, object]) -> str:
    """The folder that all members of an archive lie in; empty if there is no such folder."""
    roots = {name.split("/", 1)[0] for name in members}
    return roots.pop() if len(roots) == 1 else ""


def read_torch_members(members: Mapping[str, memoryview], allowed: Mapping[str, Constructor]) -> Any:
    """The object in the members of a zip container; see `read_torch_zip`."""
    root = root_of(members)
    if f"{root}/constants.pkl" in members or any(name.startswith(f"{root}/code/") for name in members):
        raise CheckpointError("unsupported_format", "a TorchScript archive: a program, not weights")
    if f"{root}/data.pkl" not in members:
        raise CheckpointError("unsupported_format", "a zip archive that torch.save did not write")
    if bytes(members.get(f"{root}/byteorder", b"little")) != b"little":
        raise CheckpointError("unsupported_format", "weights with the byte order of another machine")
    storages: dict[str, Storage] = {}

    def load(persistent_id: object) -> Storage:
        storage, key = described_storage(persistent_id)
        member = members.get(f"{root}/data/{key}")
        if member is None or len(member) != storage.count * storage.type.itemsize:
            raise CheckpointError(
                "bad_tensor", f"storage {key[:100]!r} has another size than its pickle says"
            )
        storage.content = member
        return _same(storages, key, storage)

    stream = io.BytesIO(members[f"{root}/data.pkl"])
    value = read_pickle(stream, allowed, load)
    _expect_end(stream)
    return value


def read_torch_stream(content: bytes, allowed: Mapping[str, Constructor]) -> Any:
    """The object in a stream container; tensors are `TensorSpec`s that view `content`.

    Raises:
        CheckpointError: `malformed`, `truncated`, `unsafe_pickle`, and the pickle's.
    """
    stream = io.BytesIO(content)
    storages: dict[str, Storage] = {}

    def load(persistent_id: object) -> Storage | Global:
        match persistent_id:
            case ("module", Global() as named, str(), str()):  # a class with its source text
                return named
        storage, key = described_storage(persistent_id)
        return _same(storages, key, storage)

    read_pickle(stream, {})  # the magic number, by which the format was recognised
    protocol, system = read_pickle(stream, {}), read_pickle(stream, {})
    if protocol != STREAM_PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("unsupported_format", "a torch stream of another protocol or byte order")
    value = read_pickle(stream, allowed, load)
    keys = read_pickle(stream, {})
    named = {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()
    if named != set(storages) or len(keys) != len(storages):
        raise CheckpointError("malformed", "the storages of the stream are not those that its pickle names")
    for key in keys:
        _fill(storages[key], stream, content)
    _expect_end(stream)
    return value


def _fill(storage: Storage, stream: io.BytesIO, content: bytes) -> None:
    """Point the storage at its numbers, which begin at the stream's position, and skip them."""
    head = stream.read(8)
    if len(head) < 8 or struct.unpack("<q", head)[0] != storage.count:
        raise CheckpointError("truncated", "a storage of the stream has another size than its pickle says")
    start, size = stream.tell(), storage.count * storage.type.itemsize
    if start + size > len(content):
        raise CheckpointError("truncated", "the stream ends inside of a storage")
    storage.content = memoryview(content)[start : start + size]
    stream.seek(start + size)


def _same(storages: dict[str, Storage], key: str, storage: Storage) -> Storage:
    """The storage that an earlier tensor named, so that sharing is seen; it must be described alike."""
    known = storages.setdefault(key, storage)
    if (known.type, known.count) != (storage.type, storage.count):
        raise CheckpointError("bad_tensor", f"storage {key[:100]!r} is described in two different ways")
    return known


def _expect_end(stream: io.BytesIO) -> None:
    if stream.read(1):
        raise CheckpointError("malformed", "something follows after the end of the pickle")
