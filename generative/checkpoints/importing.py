"""One way in for checkpoint files: recognise, read, translate, check, and nothing is executed.

The format is recognised from the content; names of files mean nothing. Several files that belong together
come as a zip archive without compression.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from generative.checkpoints import (
    alae,
    allowed,
    biggan,
    biggan_deep_hf,
    dcgan,
    e4e,
    eigengan,
    eigengan_tf,
    gan,
    gan_zoo,
    genforce,
    idinvert,
    rosinality,
)
from generative.checkpoints.configs import understand
from generative.checkpoints.contents import Contents, Folder, Format, Network
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.nvlabs import read_nvlabs
from generative.checkpoints.torch_files import (
    STREAM_START,
    read_torch_members,
    read_torch_stream,
    root_of,
)
from generative.checkpoints.zips import read_members
from generative.families import build

MAX_BYTES = 4 * 2**30
MAX_HEADER_BYTES = 2**20  # of a safetensors file; ours have about 20 kB
MAX_FILES = 64  # of a folder
CLASSES = "classes.txt"  # in a folder: names of the classes, which no format holds
ZIP_START = b"PK\3\4"

FORMATS: tuple[Format, ...] = (
    gan.FORMAT,
    dcgan.FORMAT,
    gan_zoo.DCGAN,
    gan_zoo.PGAN,
    genforce.PGGAN,
    genforce.STYLEGAN,
    genforce.STYLEGAN2,
    idinvert.FORMAT,
    rosinality.FORMAT,
    e4e.FORMAT,
    biggan.FORMAT,
    biggan_deep_hf.FORMAT,
    eigengan.FORMAT,
    eigengan_tf.FORMAT,
    alae.FORMAT,
)


@dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms. Every state fits the network of its name, and is float32."""

    generator: Network
    encoder: Network | None
    class_names: tuple[str, ...]
    provenance: dict[str, Any]  # format, sha256 and size of the file, and notes on what it did not say


def import_checkpoint(path: Path, max_bytes: int = MAX_BYTES) -> Imported:
    """Read a generator from a file of any format that docs/checkpoints.md lists.

    Raises:
        CheckpointError: with the `code` that `generative.checkpoints.errors` lists.
        OSError: if the file cannot be read.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise CheckpointError("too_large", f"the file has {size} bytes, more than {max_bytes}")
    content = path.read_bytes()
    contents = _read(content)
    generator = _check_fit(contents.generator)
    if contents.encoder is not None:
        _check_fit(contents.encoder)
    names, classes = contents.class_names, getattr(generator, "c_dim", 0)
    if names and len(names) != classes:
        raise CheckpointError("bad_config", f"{len(names)} class names for a model of {classes} classes")
    digest = hashlib.sha256(content).hexdigest()
    notes = list(contents.notes)
    provenance = {"format": contents.format, "sha256": digest, "size_bytes": size, "notes": notes}
    return Imported(contents.generator, contents.encoder, contents.class_names, provenance)


def _read(content: bytes) -> Contents:
    if content[8:9] == b"{" and (content[:1] != b"\x80" or _header_length(content) < len(content)):
        return _read_ours(content)
    if content.startswith(ZIP_START):
        members = read_members(content)
        if _is_folder(members):
            return _read_folder(members, len(content))
        return _read_torch(read_torch_members(members, allowed.TORCH), len(content))
    if content.startswith(STREAM_START):
        return _read_torch(read_torch_stream(content, allowed.TORCH), len(content))
    if content[257:262] == b"ustar":
        raise CheckpointError("unsupported_format", "a tar archive; folders come as zip, without compression")
    return _read_pickle(content)


def _read_pickle(content: bytes) -> Contents:
    """The last guess. Only a file that begins like a pickle of today may fail as a pickle."""
    try:
        return read_nvlabs(content, 2 * len(content))
    except CheckpointError as error:
        if error.code in ("malformed", "truncated") and content[:1] != b"\x80":
            raise CheckpointError("unsupported_format", "not a checkpoint of a format that we read") from None
        raise


def _read_torch(root: Any, size: int) -> Contents:
    known = next((f for f in FORMATS if f.recognises(root)), None)
    if known is not None:
        return known.read(root, 4 * size)  # half precision doubles
    if not isinstance(root, dict):
        raise CheckpointError("unsupported_format", "the file holds no dictionary")
    names = some_of(name[:50] for name in root if isinstance(name, str))
    raise CheckpointError("unsupported_format", f"no family that we read has these names: {names}")


# --- several files ---------------------------------------------------------------------------------------


def _is_folder(members: Mapping[str, memoryview]) -> bool:
    """Whether an archive holds files, rather than being one of `torch.save`."""
    names = {name.removeprefix(f"{root_of(members)}/") for name in members}
    return not any(name in ("data.pkl", "constants.pkl") or name.startswith("code/") for name in names)


def _read_folder(members: Mapping[str, memoryview], size: int) -> Contents:
    """The checkpoint in a folder, and the names of its classes if there is a `classes.txt`."""
    root = root_of(members)
    files = {name.removeprefix(f"{root}/"): part for name, part in members.items() if not name.endswith("/")}
    if len(files) > MAX_FILES:
        raise CheckpointError("too_large", f"the archive has {len(files)} files, more than {MAX_FILES}")
    names = _class_names(bytes(files.pop(CLASSES, b"")))
    if len(files) == 1 and not _is_archive_of_files(alone := bytes(*files.values())):
        return replace(_read(alone), class_names=names)
    folder = Folder({name: _file(bytes(part)) for name, part in files.items()})
    return replace(_read_together(folder, size), class_names=names)


def _read_together(folder: Folder, size: int) -> Contents:
    """By the format of the whole, else by the one file that is a checkpoint of its own."""
    for known in FORMATS:
        if known.recognises(folder):
            return known.read(folder, 4 * size)
    alone = [name for name, found in folder.items() if any(f.recognises(found) for f in FORMATS)]
    if len(alone) != 1:
        many = f"several checkpoints: {some_of(alone)}" if alone else "no checkpoint that we read"
        raise CheckpointError("unsupported_format", f"the archive holds {many}")
    return _read_torch(folder[alone[0]], size)


def _class_names(content: bytes) -> tuple[str, ...]:
    """One on each line."""
    try:
        names = tuple(line.strip() for line in content.decode().splitlines() if line.strip())
    except UnicodeDecodeError:
        raise CheckpointError("malformed", f"{CLASSES} is not text in UTF-8") from None
    if any(len(name) > 100 or not name.isprintable() for name in names) or len(set(names)) < len(names):
        raise CheckpointError("malformed", f"{CLASSES} needs a line of at most 100 characters for each class")
    return names


def _is_archive_of_files(content: bytes) -> bool:
    return content.startswith(ZIP_START) and _is_folder(read_members(content))


def _file(content: bytes) -> Any:
    """What is in a file of a folder: the object that torch saved, or its bytes."""
    if content.startswith(STREAM_START):
        return read_torch_stream(content, allowed.TORCH)
    if content.startswith(ZIP_START) and not _is_archive_of_files(content):
        return read_torch_members(read_members(content), allowed.TORCH)
    return content


# --- our own ---------------------------------------------------------------------------------------------


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _read_ours(content: bytes) -> Contents:
    """A `weights.safetensors` that `generative.store` wrote: the configuration is in its metadata."""
    length = _header_length(content)
    if length > MAX_HEADER_BYTES or length + 8 > len(content):
        raise CheckpointError("bad_container", f"a safetensors header of {length} bytes")
    try:
        header = json.loads(content[8 : 8 + length])
        state = load_safetensors(content)
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise CheckpointError("bad_container", f"a broken safetensors file: {str(error)[:200]}") from None
    config = header.get("__metadata__", {}).get("config")
    if config is None:
        raise CheckpointError("unsupported_format", "a safetensors file that does not name its network")
    try:
        fields = json.loads(config)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise CheckpointError("bad_config", "the configuration in the safetensors file is not a JSON object")
    name, config = understand(fields)
    return Contents("ganserve", Network(name, config, {n: _as_float32(n, t) for n, t in state.items()}))


def _as_float32(name: str, value: Tensor) -> Tensor:
    if not value.dtype.is_floating_point:
        raise CheckpointError("unsupported_dtype", f"{name[:100]} is {value.dtype}")
    value = value.float()
    if not value.isfinite().all():
        raise CheckpointError("non_finite", f"{name[:100]}: NaN, infinity or a number beyond float32")
    return value


# --- the last word ---------------------------------------------------------------------------------------


def _check_fit(network: Network) -> nn.Module:
    """Every weight is used and has the shape that the architecture gives it -> the module, without weights.

    Raises:
        CheckpointError: `missing_keys`, `unexpected_keys`, `wrong_shapes`, `unsupported_dtype`.
    """
    with torch.device("meta"):
        module = build(network.name, network.config)
    expected = {name: value.shape for name, value in module.state_dict().items()}
    state = network.state
    if missing := set(expected) - set(state):
        raise CheckpointError("missing_keys", f"missing: {some_of(missing)}")
    if unexpected := set(state) - set(expected):
        raise CheckpointError("unexpected_keys", f"not known: {some_of(name[:100] for name in unexpected)}")
    wrong = {name for name, shape in expected.items() if state[name].shape != shape}
    if wrong:
        named = [f"{n} {tuple(state[n].shape)}, not {tuple(expected[n])}" for n in wrong]
        raise CheckpointError("wrong_shapes", some_of(named))
    if integers := {name for name, value in state.items() if not value.dtype.is_floating_point}:
        raise CheckpointError("unsupported_dtype", f"not floating point: {some_of(integers)}")
    return module
