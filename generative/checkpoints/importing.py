"""One way in for checkpoint files: recognise, read, translate, check, and nothing is executed.

The format is recognised from the content; names of files mean nothing.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from generative.checkpoints import allowed
from generative.checkpoints.configs import read_config
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.nvlabs import read_nvlabs
from generative.checkpoints.pickles import Inert
from generative.checkpoints.rosinality import from_rosinality, rosinality_config
from generative.checkpoints.tensors import TensorSpec, make_tensors
from generative.checkpoints.torch_files import STREAM_START, read_torch_stream, read_torch_zip
from generative.networks.stylegan2 import Generator, StyleGAN2Config

MAX_BYTES = 4 * 2**30
MAX_HEADER_BYTES = 2**20  # of a safetensors file; ours have about 20 kB
AVERAGE_SAMPLES, AVERAGE_SEED = 10_000, 0


@dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms. `state_dict` fits `Generator(config)` and is float32."""

    config: StyleGAN2Config
    state_dict: dict[str, Tensor]
    w_avg: Tensor  # (w_dim,)
    provenance: dict[str, Any]  # format, sha256 and size of the file, and notes on what it did not say


@dataclass(frozen=True)
class _Contents:
    format: str
    config: StyleGAN2Config
    state: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def import_checkpoint(path: Path, max_bytes: int = MAX_BYTES) -> Imported:
    """Read a StyleGAN2 generator from a file of NVlabs, rosinality or ours.

    Raises:
        CheckpointError: with the `code` that `generative.checkpoints.errors` lists.
        OSError: if the file cannot be read.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise CheckpointError("too_large", f"the file has {size} bytes, more than {max_bytes}")
    content = path.read_bytes()
    contents = _read(content)
    _check_fit(contents)
    digest = hashlib.sha256(content).hexdigest()
    notes = list(contents.notes)
    provenance = {"format": contents.format, "sha256": digest, "size_bytes": size, "notes": notes}
    return Imported(contents.config, contents.state, contents.state["mapping.w_avg"], provenance)


def _read(content: bytes) -> _Contents:
    if content[8:9] == b"{" and (content[:1] != b"\x80" or _header_length(content) < len(content)):
        return _read_ours(content)
    if content.startswith(b"PK\3\4"):
        return _read_torch(read_torch_zip(content, allowed.ROSINALITY), "rosinality-zip", len(content))
    if content.startswith(STREAM_START):
        return _read_torch(read_torch_stream(content, allowed.ROSINALITY), "rosinality-stream", len(content))
    if content[257:262] == b"ustar":
        raise CheckpointError("unsupported_format", "a tar archive")
    return _read_pickle(content)


def _read_pickle(content: bytes) -> _Contents:
    """The last guess. Only a file that begins like a pickle of today may fail as a pickle."""
    try:
        config, specs = read_nvlabs(content)
    except CheckpointError as error:
        if error.code in ("malformed", "truncated") and content[:1] != b"\x80":
            raise CheckpointError("unsupported_format", "not a checkpoint of a format that we read") from None
        raise
    return _Contents("nvlabs-pickle", config, make_tensors(specs, 2 * len(content)))


def _read_torch(root: Any, format_name: str, size: int) -> _Contents:
    if not isinstance(root, dict):
        raise CheckpointError("unsupported_format", "the file holds no dictionary")
    if "g_ema" not in root:
        names = some_of(name[:50] for name in root if isinstance(name, str))
        raise CheckpointError("missing_keys", f"the file holds no g_ema; it holds {names}")
    state = make_tensors(_specs(root["g_ema"], "g_ema"), 4 * size)  # half precision doubles
    average = root.get("latent_avg")
    if average is not None:
        average = make_tensors(_specs({"latent_avg": average}, ""), 4 * size)["latent_avg"]
    config = rosinality_config(state)
    _check_arguments(root.get("args"), config)
    notes = ["without noise buffers; ours are drawn from seed 0"] if "noises.noise_0" not in state else []
    contents = _Contents(format_name, config, from_rosinality(state, average), tuple(notes))
    return _with_average(contents) if average is None else contents


def _specs(group: object, name: str) -> dict[str, TensorSpec]:
    if not isinstance(group, dict):
        raise CheckpointError("malformed", f"{name} is not a dictionary of tensors")
    for key, value in group.items():
        if not isinstance(key, str) or not isinstance(value, TensorSpec):
            raise CheckpointError("malformed", f"{name} holds what is not a tensor: {str(key)[:100]!r}")
    return dict(group)


def _check_arguments(args: object, config: StyleGAN2Config) -> None:
    """A training run saves its command line, which must not contradict the weights."""
    if not isinstance(args, Inert) or not isinstance(args.state, dict):
        return
    weights = {"size": config.img_resolution, "latent": config.w_dim, "n_mlp": config.mapping_layers}
    for name, value in weights.items():
        if args.state.get(name, value) != value:
            raise CheckpointError("bad_config", f"{name} is {value} by the weights, not by the arguments")


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _read_ours(content: bytes) -> _Contents:
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
    return _Contents("ganserve", read_config(fields), {n: _as_float32(n, t) for n, t in state.items()})


def _as_float32(name: str, value: Tensor) -> Tensor:
    if not value.dtype.is_floating_point:
        raise CheckpointError("unsupported_dtype", f"{name[:100]} is {value.dtype}")
    value = value.float()
    if not value.isfinite().all():
        raise CheckpointError("non_finite", f"{name[:100]}: NaN, infinity or a number beyond float32")
    return value


def _with_average(contents: _Contents) -> _Contents:
    """Estimate the mean of w, as rosinality's scripts do before they truncate."""
    state = contents.state | {"mapping.w_avg": torch.zeros(contents.config.w_dim)}
    _check_fit(replace(contents, state=state))
    generator = Generator(contents.config)
    generator.load_state_dict(state)
    rng = torch.Generator().manual_seed(AVERAGE_SEED)
    with torch.no_grad():
        w = generator.map(torch.randn(AVERAGE_SAMPLES, contents.config.z_dim, generator=rng))
    note = f"without an average of w; ours is the mean of {AVERAGE_SAMPLES} samples"
    return replace(contents, state=state | {"mapping.w_avg": w.mean(dim=0)}, notes=(*contents.notes, note))


def _check_fit(contents: _Contents) -> None:
    """Every weight is used and has the shape that the architecture gives it.

    Raises:
        CheckpointError: `missing_keys`, `unexpected_keys`, `wrong_shapes`, `unsupported_dtype`.
    """
    with torch.device("meta"):
        expected = {name: value.shape for name, value in Generator(contents.config).state_dict().items()}
    state = contents.state
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
