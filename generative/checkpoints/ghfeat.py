"""GH-Feat: pickles of genforce/ghfeat, (E, _, _, Gs), networks of `dnnlib`: the encoder, and the StyleGAN
whose styles it sees.

The names of their variables are from reading the code, which needs TensorFlow 1 and was not run; no file of
theirs was at hand. The encoder's become those of `generative.networks.ghfeat_encoder`, the generator's those
of genforce/genforce.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Network, shapes_of
from generative.checkpoints.dnnlib_networks import (
    generator_variables,
    is_network,
    kernel_last,
    part_of,
    state_of,
    variables_of,
)
from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.genforce import check_lod
from generative.checkpoints.genforce_configs import Shapes, length, shape_of, stylegan_config
from generative.checkpoints.tensors import make_tensors
from generative.networks.ghfeat_encoder import GHFeatEncoderConfig
from generative.networks.stylegan import Generator, StyleGANConfig

#: arguments of the generator that would change the numbers if they had other values
_FIXED = {
    "mapping_lrmul": 0.01, "mapping_nonlinearity": "lrelu", "normalize_latents": True, "use_wscale": True,
    "use_styles": True, "const_input_layer": True, "use_noise": True, "nonlinearity": "lrelu",
    "use_pixel_norm": False, "use_instance_norm": True, "blur_filter": [1, 2, 1],
}  # fmt: skip
_UNITS = {"Conva": "0", "Convb": "1", "Convc": "2"}
_NORM = {
    "gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"
}  # fmt: skip
_HEADS = {"LowLevel": 0, "MidLevel": 1, "HighLevel": 2}
_LAYERS = {"Const": 0, "Conv": 1, "Conv0_up": 0, "Conv1": 1}  # of a resolution
_PARTS = {
    "weight": "weight",
    "bias": "bias",
    "const": "const",
    "Noise/weight": "apply_noise.weight",
    "StyleMod/weight": "style.weight",
    "StyleMod/bias": "style.bias",
}


def recognises(root: object) -> bool:
    """Whether it is a tuple (E, _, _, Gs) of networks."""
    return isinstance(root, tuple) and len(root) == 4 and is_network(root[0]) and is_network(root[3])


def read(root: Any, budget: int) -> Contents:
    """The generator in Gs, and the encoder.

    Raises:
        CheckpointError: `malformed`, `missing_keys`, `bad_config`, and those of the tensors.
    """
    generator = _generator(state_of(root[3]), budget)
    made = sum(4 * value.numel() for value in generator.state.values())
    widths = tuple(2 * C for C in generator.config.channels for _ in (0, 1))
    encoder = _encoder(state_of(root[0]), widths, budget - made)
    if encoder.config.img_resolution != generator.config.img_resolution:
        raise CheckpointError("bad_config", "encoder and generator differ in the size of pictures")
    return Contents("ghfeat", generator, encoder)


# --- the generator ---------------------------------------------------------------------------------------


def _generator(Gs: Mapping[Any, Any], budget: int) -> Network:
    kwargs = part_of(Gs, "static_kwargs")
    for name, value in _FIXED.items():
        if kwargs.get(name, value) != value:
            raise CheckpointError("bad_config", f"an unknown value of the argument {name}")
    specs = dict(generator_variables(Gs))
    blocks = sum(re.fullmatch(r"synthesis/ToRGB_lod\d{1,2}/bias", name) is not None for name in specs)
    found = [_of_generator(n, t, blocks) for n, t in make_tensors(specs, budget).items() if n != "lod"]
    state = dict(found)
    if len(state) != len(found):
        raise CheckpointError("unexpected_keys", "the generator has a variable twice, by different names")
    config = stylegan_config(StyleGANConfig, shapes_of(state), kwargs.get("fused_scale", "auto"))
    check_lod(state.get("synthesis.lod"), blocks)
    return Network("stylegan", config, state | _kernels(config))


def _of_generator(name: str, value: Tensor, blocks: int) -> tuple[str, Tensor]:
    """Under our name and in our layout. What is not known stays, and will be found."""
    if name == "dlatent_avg":
        return "mapping.w_avg", value
    if name == "mapping/LabelConcat/weight":
        return "mapping.label_weight", value
    if match := re.fullmatch(r"mapping/Dense(\d{1,2})/(weight|bias)", name):
        return f"mapping.dense{match[1]}.{match[2]}", kernel_last(value)
    if name == "synthesis/lod":
        return "synthesis.lod", value
    if match := re.fullmatch(r"synthesis/noise(\d{1,2})", name):
        return f"synthesis.layer{match[1]}.apply_noise.noise", value
    if match := re.fullmatch(r"synthesis/ToRGB_lod(\d{1,2})/(weight|bias)", name):
        return f"synthesis.output{blocks - 1 - int(match[1])}.{match[2]}", kernel_last(value)
    if match := re.fullmatch(r"synthesis/(\d{1,4})x\1/(\w+)/(\w+(?:/\w+)?)", name):
        size, layer, part = int(match[1]), match[2], match[3]
        if size >= 4 and layer in _LAYERS and part in _PARTS:
            number = 2 * (size.bit_length() - 3) + _LAYERS[layer]
            return f"synthesis.layer{number}.{_PARTS[part]}", value if part == "const" else kernel_last(value)
    return name, value


def _kernels(config: StyleGANConfig) -> dict[str, Tensor]:
    """The blurring kernels, which are constants in theirs and buffers in ours."""
    with torch.device("meta"):
        names = {n: v.shape for n, v in Generator(config).state_dict().items() if n.endswith("blur.kernel")}
    row = torch.tensor([1.0, 2.0, 1.0])
    return {name: (torch.outer(row, row) / 16).expand(shape).contiguous() for name, shape in names.items()}


# --- the encoder -----------------------------------------------------------------------------------------


def _encoder(E: Mapping[Any, Any], widths: tuple[int, ...], budget: int) -> Network:
    """widths: of the generator's styles, coarse to fine."""
    specs = dict(variables_of(E))
    config = _encoder_config(shapes_of(specs), widths)
    found = [_of_encoder(n, t, config.depths) for n, t in make_tensors(specs, budget).items()]
    state = dict(found)
    if len(state) != len(found):
        raise CheckpointError("unexpected_keys", "the encoder has a variable twice, by different names")
    return Network("ghfeat_encoder", config, state)


def _encoder_config(shapes: Shapes, widths: tuple[int, ...]) -> GHFeatEncoderConfig:
    """The head of the deepest map tells the size of pictures: it sees a place for every 64 pixels."""
    if "stage1_unit1/Convc/weight" not in shapes:
        raise CheckpointError("bad_config", "an encoder of basic blocks (depth 18 or 34): not known here")
    depths = tuple(length(shapes, f"stage{i}_unit{{}}/Conva/weight", start=1) for i in range(1, 5))
    stem, fused = shape_of(shapes, "Conv0/weight", 4), shape_of(shapes, "fuse_conv_2/weight", 4)
    places = shape_of(shapes, "HighLevel/weight", 2)[0] / max(fused[3], 1)
    fields = {
        "img_resolution": 64 * math.isqrt(int(places)),
        "img_channels": stem[2],
        "width": stem[3],
        "depths": depths,
        "pyramid": fused[3],
        "style_widths": widths,
    }
    return read_config(GHFeatEncoderConfig, fields)


def _of_encoder(name: str, value: Tensor, depths: tuple[int, ...]) -> tuple[str, Tensor]:
    """Under our name and in our layout. What is not known stays, and will be found."""
    path, _, part = name.rpartition("/")
    normed = path.endswith("/batch_norm")
    if part not in (_NORM if normed else ("weight", "bias")):
        return name, value
    ours = _place(path.removesuffix("/batch_norm"), normed, depths)
    return (name, value) if ours is None else (f"{ours}.{_NORM.get(part, part)}", kernel_last(value))


def _place(path: str, normed: bool, depths: tuple[int, ...]) -> str | None:
    """Our module behind one of their scopes."""
    if path == "Conv0":
        return "norm" if normed else "stem"
    if path in _HEADS:
        return f"heads.{_HEADS[path]}.{'norm' if normed else 'fc'}"
    if match := re.fullmatch(r"fpn/lconv_([345])", path):
        return f"laterals.{int(match[1]) - 3}"
    if match := re.fullmatch(r"(fpn/fconv|fuse_conv)_([012])", path):
        return f"{'outputs' if match[1] == 'fpn/fconv' else 'fusions'}.{match[2]}"
    if match := re.fullmatch(r"(?:stage([1-4])_unit(\d{1,2})|stage5)/(\w+)", path):
        block = "res6"
        if match[1]:
            block = f"stages.{sum(depths[: int(match[1]) - 1]) + int(match[2]) - 1}"
        if match[3] == "Shortcut":
            return f"{block}.shortcut.{int(normed)}"
        if match[3] in _UNITS:
            return f"{block}.{'norm' if normed else 'conv'}{_UNITS[match[3]]}"
    return None
