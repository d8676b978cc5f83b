"""StyleGAN2 pickles of the TensorFlow era: NVlabs/stylegan2 and NVlabs/stylegan2-ada.

The pickle holds (G, D, Gs), networks of `dnnlib`. Each keeps the arguments of its constructor, its variables
as numpy arrays, and source text, which the official loader runs and we do not read. Gs, the running mean of
G, is what is served.

Names and layouts are translated as in the converter of NVlabs/stylegan2-ada-pytorch.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Network
from generative.checkpoints.dnnlib_networks import (
    generator_variables,
    is_network,
    kernel_last,
    part_of,
    state_of,
    transposed,
)
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.tensors import make_tensors
from generative.networks.stylegan2 import Generator, StyleGAN2Config
from generative.ops.upfirdn2d import fir_filter

#: their arguments -> fields of our configuration
_FIELDS = {
    "resolution": "img_resolution",
    "num_channels": "img_channels",
    "latent_size": "z_dim",
    "label_size": "c_dim",
    "dlatent_size": "w_dim",
    "mapping_layers": "mapping_layers",
    "mapping_lrmul": "mapping_lr_multiplier",
    "fmap_base": "channel_base",
    "fmap_max": "channel_max",
    "architecture": "architecture",
    "resample_kernel": "resample_filter",
    "conv_clamp": "conv_clamp",
    "use_noise": "use_noise",
    "num_fp16_res": "num_fp16_res",
}
#: arguments that would change the numbers if they had other values
_FIXED = {
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "normalize_latents": True,
    "fmap_decay": 1,
    "fmap_min": 1,
}
#: arguments for speed, for training or for the caller; `mapping_fmaps` shows in the shapes
_WITHOUT_EFFECT = {
    "dlatent_avg_beta",
    "dtype",
    "fused_modconv",
    "mapping_fmaps",
    "randomize_noise",
    "structure",
    "style_mixing_prob",
    "truncation_cutoff",
    "truncation_psi",
    "w_avg_beta",
}
_LAYERS = {"Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb", "Skip": "skip"}
_PARTS = {
    "weight": "weight",
    "bias": "bias",
    "noise_strength": "noise_strength",
    "mod_weight": "affine.weight",
    "mod_bias": "affine.bias",
}


def recognises(root: object) -> bool:
    """Whether it is a tuple (G, D, Gs) of networks."""
    return isinstance(root, tuple) and len(root) == 3 and all(map(is_network, root))


def read(root: Any, budget: int) -> Contents:
    """The generator in Gs.

    Raises:
        CheckpointError: `unsupported_format` for other networks than StyleGAN2, `malformed`, `bad_config`,
            and those of the tensors.
    """
    Gs = state_of(root[2])
    specs = dict(generator_variables(Gs))
    if "synthesis/4x4/Conv/mod_weight" not in specs:
        raise CheckpointError("unsupported_format", "a TensorFlow network that is not StyleGAN2")
    config = config_from_kwargs(part_of(Gs, "static_kwargs"))
    state = dict(_translate(name, value) for name, value in make_tensors(specs, budget).items())
    return Contents("tensorflow-pickle", Network("stylegan2", config, state | _filters(config)))


def config_from_kwargs(kwargs: Mapping[Any, Any]) -> StyleGAN2Config:
    """The configuration behind the static arguments of `G_main`.

    Raises:
        CheckpointError: `bad_config`, also for arguments that change the numbers in ways that we do not know.
    """
    fields: dict[str, Any] = {"img_resolution": 1024}
    for name, value in kwargs.items():
        if name == "fmap_base" and isinstance(value, int | float):
            fields["channel_base"] = 2 * value  # theirs is divided by half the resolution
        elif name in _FIELDS:
            fields[_FIELDS[name]] = tuple(value) if isinstance(value, list) else value
        elif name not in _WITHOUT_EFFECT and (name not in _FIXED or value != _FIXED[name]):
            raise CheckpointError("bad_config", f"an unknown argument of the network: {str(name)[:100]!r}")
    return read_config(StyleGAN2Config, fields)


def _translate(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Under our name and in our layout. Unknown names, and shapes without such a layout, stay as they are."""
    if name == "dlatent_avg":
        return "mapping.w_avg", value
    if match := re.fullmatch(r"mapping/(?:Dense(\d{1,2})|LabelEmbed)/(weight|bias)", name):
        layer = f"fc{int(match[1])}" if match[1] else "embed"
        return f"mapping.{layer}.{match[2]}", transposed(value)
    if match := re.fullmatch(r"synthesis/noise(\d{1,2})", name):
        return f"{_noise_layer(int(match[1]))}.noise_const", _without_ones(value, 2)
    if name == "synthesis/4x4/Const/const":
        return "synthesis.b4.const", _without_ones(value, 3)
    name_in_block = name.replace("/4x4/Conv/", "/4x4/Conv1/")
    if match := re.fullmatch(r"synthesis/(\d{1,4})x\1/(\w+)/(\w+)", name_in_block):
        if match[2] in _LAYERS and match[3] in _PARTS:
            layer, part = _LAYERS[match[2]], _PARTS[match[3]]
            return f"synthesis.b{match[1]}.{layer}.{part}", _in_our_layout(layer, part, value)
    return name, value


def _noise_layer(k: int) -> str:
    return f"synthesis.b{8 << (k - 1) // 2}.conv{(k - 1) % 2}" if k else "synthesis.b4.conv1"


def _in_our_layout(layer: str, part: str, value: Tensor) -> Tensor:
    if part == "affine.bias":
        return value + 1  # their layers add the 1 when they run
    if part == "weight" and value.ndim == 4:
        value = kernel_last(value)
        return value.flip((2, 3)) if layer == "conv0" else value
    return transposed(value)


def _without_ones(value: Tensor, ndim: int) -> Tensor:
    """Without its leading axes of 1, down to `ndim` axes."""
    while value.ndim > ndim and value.shape[0] == 1:
        value = value[0]
    return value


def _filters(config: StyleGAN2Config) -> dict[str, Tensor]:
    """The resampling filters, which are constants in theirs and buffers in ours."""
    with torch.device("meta"):
        names = [name for name in Generator(config).state_dict() if name.endswith("resample_filter")]
    return {name: fir_filter(config.resample_filter) for name in names}
