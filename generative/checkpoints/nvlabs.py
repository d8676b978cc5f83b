"""Pickles of NVlabs: the StyleGAN2 of stylegan2-ada-pytorch and of the stylegan3 repository, and StyleGAN3;
those of TensorFlow are handed to `tensorflow` and `ghfeat`.

Networks in these files carry their own source text, which the official loader runs. We read the data around
it: the constructor's arguments and the tensors of each module. Parameter names are already ours.
"""

import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import Any

from generative.checkpoints import allowed, ghfeat, tensorflow
from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Network, make_state
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.pickles import Inert, read_pickle
from generative.checkpoints.tensors import Storage, TensorSpec
from generative.checkpoints.torch_files import STREAM_START, read_torch_stream
from generative.networks.stylegan2 import StyleGAN2Config
from generative.networks.stylegan3 import StyleGAN3Config

MAX_MODULES = 10_000
MAX_DEPTH = 16

_ADA = {"conv_clamp": None, "num_fp16_res": 0, "w_avg_beta": 0.995}
_STYLEGAN3 = {"conv_clamp": 256, "num_fp16_res": 4, "w_avg_beta": 0.998}  # each repository has its defaults
_MAPPING = {
    "num_layers": "mapping_layers",
    "lr_multiplier": "mapping_lr_multiplier",
    "w_avg_beta": "w_avg_beta",
}
_OWN = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
_SIZES = ("channel_base", "channel_max", "num_fp16_res")
_SYNTHESIS = (*_SIZES, "architecture", "resample_filter", "conv_clamp", "use_noise")
_SPEED_ONLY = ("fused_modconv_default", "fp16_channels_last", "activation")
_WITHOUT_EFFECT = ("num_fp16_res", "magnitude_ema_beta")  # on StyleGAN3's pictures: speed, and training


def read_nvlabs(content: bytes, budget: int) -> Contents:
    """`G_ema`, whose tensors may have `budget` bytes.

    Raises:
        CheckpointError: `unsupported_format` for other networks, `unsafe_pickle`, `missing_keys`,
            `bad_config`, ...
    """
    stream = io.BytesIO(content)
    root = read_pickle(stream, allowed.nvlabs(_nested_storage))
    if stream.read(1):
        raise CheckpointError("malformed", "something follows after the end of the pickle")
    for known in (tensorflow, ghfeat):
        if known.recognises(root):
            return known.read(root, budget)
    if not isinstance(root, dict):
        raise CheckpointError("unsupported_format", "a pickle that holds no dictionary of networks")
    if "G_ema" not in root:
        raise CheckpointError("missing_keys", "the pickle holds no network called G_ema")
    state = _module_state(root["G_ema"])
    name, config = _described(state)
    specs = dict(_tensors(state, "", iter(range(MAX_MODULES))))
    return Contents("nvlabs-pickle", Network(name, config, make_state(specs, "G_ema", budget)))


def _described(state: dict[str, Any]) -> tuple[str, StyleGAN2Config | StyleGAN3Config]:
    """The network that the attributes of a `Generator` belong to, and its configuration."""
    kwargs = _part(state, "_init_kwargs")
    synthesis = _module_state(_part(state, "_modules").get("synthesis"))
    parts = _part(synthesis, "_modules")
    if "b4" in parts:
        return "stylegan2", config_from_kwargs(kwargs, stylegan3="num_fp16_res" in synthesis)
    if "input" in parts and any(name.startswith("L0_") for name in parts):
        return "stylegan3", stylegan3_config(kwargs)
    raise CheckpointError("unsupported_format", "a network of NVlabs that is not StyleGAN2 or StyleGAN3")


def stylegan3_config(kwargs: Mapping[str, Any]) -> StyleGAN3Config:
    """The configuration behind the arguments of StyleGAN3's official `Generator`, whose defaults it has.

    Raises:
        CheckpointError: `bad_config`, also for arguments that we do not know.
    """
    fields = {name: value for name, value in kwargs.items() if name not in _WITHOUT_EFFECT}
    fields |= _mapping_fields(fields.pop("mapping_kwargs", {}))
    fields.pop("w_avg_beta", None)  # of training too
    _refuse(set(fields) - {field.name for field in dataclasses.fields(StyleGAN3Config)})
    return read_config(StyleGAN3Config, fields)


def config_from_kwargs(kwargs: Mapping[str, Any], stylegan3: bool = False) -> StyleGAN2Config:
    """The configuration behind the arguments of the official `Generator`.

    stylegan2-ada-pytorch nests the arguments of the synthesis network, stylegan3 has them flat; `stylegan3`
    decides whose defaults count when there are none.

    Raises:
        CheckpointError: `bad_config`, also for arguments that change the numbers in ways that we do not know.
    """
    flat = dict(kwargs)
    mapping, nested = flat.pop("mapping_kwargs", {}), flat.pop("synthesis_kwargs", None)
    stylegan3 = nested is None and (stylegan3 or any(name in flat for name in _SYNTHESIS))
    fields: dict[str, Any] = dict(_STYLEGAN3 if stylegan3 else _ADA)
    for name, value in (flat | _arguments({} if nested is None else nested)).items():
        if name in _OWN or name in _SYNTHESIS:
            fields[name] = tuple(value) if isinstance(value, list) else value
        elif name not in _SPEED_ONLY or (name == "activation" and value != "lrelu"):
            _refuse({name})
    return read_config(StyleGAN2Config, fields | _mapping_fields(mapping))


def _mapping_fields(kwargs: object) -> dict[str, Any]:
    """The arguments of the mapping network, by the names that our configurations have for them."""
    arguments = _arguments(kwargs)
    _refuse(set(arguments) - set(_MAPPING))
    return {_MAPPING[name]: value for name, value in arguments.items()}


def _arguments(value: object) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise CheckpointError("bad_config", "arguments of the network that are no dictionary of names")
    return value


def _refuse(unknown: set[str]) -> None:
    if unknown:
        names = some_of(name[:100] for name in unknown)
        raise CheckpointError("bad_config", f"unknown arguments of the network: {names}")


def _nested_storage(content: object) -> Storage:
    """`torch.storage._load_from_bytes`: a whole torch stream that holds one storage."""
    if not isinstance(content, bytes) or not content.startswith(STREAM_START):
        raise CheckpointError("malformed", "a nested storage that is no torch stream")
    storage = read_torch_stream(content, allowed.TENSORS)
    if not isinstance(storage, Storage):
        raise CheckpointError("malformed", "a nested torch stream that holds no storage")
    return storage


def _module_state(value: object) -> dict[str, Any]:
    """The attributes of a persistent object, which the official code would make from its source text."""
    match value:
        case Inert(name="persistent", args=({"type": "class", "state": dict(state)},)):
            return state
    raise CheckpointError("unsupported_format", "a network that was not saved by the official code")


def _part(state: dict[str, Any], name: str) -> dict[str, Any]:
    part = state.get(name, {})
    if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
        raise CheckpointError("malformed", f"{name} of a module is not a dictionary of names")
    return part


def _tensors(state: dict[str, Any], prefix: str, budget: Iterator[int]) -> Iterator[tuple[str, TensorSpec]]:
    """What `state_dict()` of the module would hold. `budget` bounds a tree that contains itself."""
    if next(budget, None) is None or prefix.count(".") > MAX_DEPTH:
        raise CheckpointError("too_large", "the modules of the network never end")
    passing = state.get("_non_persistent_buffers_set", set())
    for group in ("_parameters", "_buffers"):
        for name, value in _part(state, group).items():
            if value is None or (group == "_buffers" and name in passing):
                continue
            if not isinstance(value, TensorSpec):
                raise CheckpointError("malformed", f"{prefix}{name} is not a tensor")
            yield f"{prefix}{name}", value
    for name, module in _part(state, "_modules").items():
        if module is not None:
            yield from _tensors(_module_state(module), f"{prefix}{name}.", budget)
