"""BigGAN-deep with the names of huggingface/pytorch-pretrained-BigGAN: the weights of TensorFlow Hub.

A folder with `pytorch_model.bin`, a state dict, and `config.json`; or the state dict alone, whose
configuration is then read from its shapes and from what the three published models have in common.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from generative.checkpoints.biggan import Shapes, shape_of
from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import (
    Contents,
    Folder,
    Format,
    Network,
    make_state,
    shapes_of,
    tensor_specs,
)
from generative.checkpoints.errors import CheckpointError, some_of
from generative.checkpoints.spectral_norms import divide
from generative.checkpoints.tensors import TensorSpec
from generative.networks.biggan_deep_hf import BigGANDeepHFConfig

NAME = "huggingface-biggan-deep"
MAX_JSON_BYTES = 2**20
NEEDED = (
    "embeddings.weight",
    "generator.gen_z.weight_orig",
    "generator.bn.running_means",
    "generator.conv_to_rgb.weight_orig",
)
RENAMED = (
    (re.compile(r"\.weight_orig$"), ".weight"),
    (re.compile(r"^generator\."), ""),
    (re.compile(r"^gen_z\."), "linear."),
    (re.compile(r"^conv_to_rgb\."), "rgb."),
    (re.compile(r"^bn\.weight$"), "output_norm.gain"),
    (re.compile(r"^bn\."), "output_norm."),
    (re.compile(r"\.running_means$"), ".mean"),
    (re.compile(r"\.running_vars$"), ".var"),
    (re.compile(r"\.scale\.weight$"), ".gain.weight"),
    (re.compile(r"\.offset\.weight$"), ".bias.weight"),
    (re.compile(r"\.snconv1x1_o_conv\."), ".o."),
    (re.compile(r"\.snconv1x1_(theta|phi|g)\."), r".\1."),
)


@dataclass(frozen=True)
class Settings:
    """What `config.json` says that shapes do not. A layer is whether it doubles the size, and its channels in
    and out, over `channel_width`.
    """

    channel_width: int
    layers: tuple[tuple[bool, int, int], ...]
    attention_layer_position: int
    eps: float


def recognises(root: Any) -> bool:
    """The state dict, or a folder with no other file of torch beside it."""
    if not isinstance(root, Folder):
        return isinstance(root, dict) and all(isinstance(root.get(name), TensorSpec) for name in NEEDED)
    saved = _saved(root)
    return len(saved) == 1 and not isinstance(saved[0], Folder) and recognises(saved[0])


def read(root: Any, budget: int) -> Contents:
    """Raises CheckpointError."""
    group = _saved(root)[0] if isinstance(root, Folder) else root
    settings = _settings(root) if isinstance(root, Folder) else None
    shapes = shapes_of(tensor_specs(group, "the generator"))
    known = _from_shapes(shapes)
    notes: tuple[str, ...] = ()
    if settings is not None:
        known |= _from_settings(settings, known)
    else:
        known["upsampling"] = tuple(i % 2 == 1 for i in range(len(known["channels"]) - 1))
        notes = ("without config.json: taken to be laid out as the published models",)
    config = read_config(BigGANDeepHFConfig, known)
    state = _translated(make_state(group, "the generator", budget), config.attention_before)
    return Contents(NAME, Network("biggan_deep_hf", config, state), notes=notes)


FORMAT = Format(NAME, recognises, read)


def _saved(folder: Folder) -> list[Any]:
    return [member for member in folder.values() if not isinstance(member, bytes)]


def _settings(folder: Folder) -> Settings | None:
    """What is in the one JSON file that looks like it. Raises CheckpointError: `bad_config`."""
    contents = (_json(member) for member in folder.values() if isinstance(member, bytes))
    found = [c for c in contents if isinstance(c, dict) and {"channel_width", "layers"} <= set(c)]
    if len(found) > 1:
        raise CheckpointError("bad_config", f"{len(found)} files that could be the config.json")
    needed = {field.name for field in fields(Settings)}
    return read_config(Settings, {k: v for k, v in found[0].items() if k in needed}) if found else None


def _json(content: bytes) -> object:
    if len(content) > MAX_JSON_BYTES:
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _from_shapes(shapes: Shapes) -> dict[str, Any]:
    """All but where the size doubles. Raises CheckpointError: `bad_config`, `missing_keys`, ..."""
    matches = (re.match(r"generator\.layers\.(\d{1,2})\.", name) for name in shapes)
    layers = [f"generator.layers.{k}" for k in range(len({match[1] for match in matches if match}))]
    blocks = [layer for layer in layers if f"{layer}.conv_0.weight_orig" in shapes]
    attention = [k for k, layer in enumerate(layers) if layer not in blocks]
    if len(attention) > 1 or not blocks:
        raise CheckpointError("bad_config", "the layers of the generator do not go together")
    inputs = [shape_of(shapes, f"{block}.conv_0.weight_orig", 4)[1] for block in blocks]
    embed_dim, classes = shape_of(shapes, "embeddings.weight", 2)
    return {
        "z_dim": shape_of(shapes, "generator.gen_z.weight_orig", 2)[1] - embed_dim,
        "c_dim": classes,
        "embed_dim": embed_dim,
        "channels": (*inputs, shape_of(shapes, f"{blocks[-1]}.conv_3.weight_orig", 4)[0]),
        "attention_before": attention[0] if attention else None,
        "n_stats": shape_of(shapes, "generator.bn.running_means", 2)[0],
    }


def _from_settings(settings: Settings, known: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes do not tell. Raises CheckpointError: `bad_config` if the settings contradict the shapes."""
    position, layers = settings.attention_layer_position, settings.layers
    widths = [inputs for _, inputs, _ in layers] + [outputs for _, _, outputs in layers[-1:]]
    channels = tuple(settings.channel_width * width for width in widths)
    attention = position if 0 <= position < len(layers) else None
    if (channels, attention) != (known["channels"], known["attention_before"]):
        raise CheckpointError("bad_config", "the layers of config.json are not those of the weights")
    return {"upsampling": tuple(up for up, _, _ in layers), "eps": settings.eps}


def _translated(theirs: dict[str, Tensor], attention: int | None) -> dict[str, Tensor]:
    """The state with our names. Names that are not known are kept, so that the check against the architecture
    names them.
    """
    normalised = [name.removesuffix("_orig") for name in theirs if name.endswith(".weight_orig")]
    vectors = {f"{name}{vector}" for name in normalised for vector in ("_u", "_v")}
    if missing := vectors - set(theirs):
        raise CheckpointError("missing_keys", f"missing: {some_of(name[:100] for name in missing)}")
    names = [name for name in theirs if name not in vectors]
    ours = {_our_name(name, attention): _our_value(name, theirs) for name in names}
    if len(ours) < len(names):
        raise CheckpointError("malformed", "two tensors that mean the same")
    return ours


def _our_name(name: str, attention: int | None) -> str:
    if match := re.fullmatch(r"generator\.layers\.(\d{1,2})(\..+)", name):
        layer = int(match[1])
        block = layer - (attention is not None and layer > attention)
        name = f"attention{match[2]}" if layer == attention else f"blocks.{block}{match[2]}"
        name = re.sub(r"\.(bn|conv)_([0-3])\.", lambda part: f".{part[1]}{int(part[2]) + 1}.", name)
    for pattern, ours in RENAMED:
        name = pattern.sub(ours, name)
    return name


def _our_value(name: str, theirs: Mapping[str, Tensor]) -> Tensor:
    value = theirs[name]
    if name.endswith(".weight_orig"):
        stem = name.removesuffix("_orig")
        value = divide(stem, value, theirs[f"{stem}_u"], theirs[f"{stem}_v"])
    if name.endswith(".running_vars") and (value < 0).any():
        raise CheckpointError("non_finite", f"{name[:100]}: a variance below zero has no square root")
    if name.startswith("generator.conv_to_rgb."):
        return value[:3].clone()  # the official code computes all channels, and throws the others away
    return value.reshape(()) if name.endswith(".gamma") and value.shape == (1,) else value
