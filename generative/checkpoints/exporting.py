"""The way back: our weights of a StyleGAN2 into a file that the codes of others load.

* `rosinality`: `{"g_ema": ..., "latent_avg": ...}`, as the converter of rosinality/stylegan2-pytorch writes
  it. It says sizes by shapes alone, so that whoever loads it has to build a generator of these sizes:
  rosinality's own takes its channels from a table, one length for z and w, and three colours.
* `nvlabs-state-dict`: the `state_dict()` of the `Generator` of NVlabs/stylegan2-ada-pytorch; its names are
  ours.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.checkpoints.importing import import_checkpoint
from generative.networks.stylegan2 import StyleGAN2Config


def export_checkpoint(weights: Path, format: str, out: Path) -> None:
    """Write the generator in a `weights.safetensors` to `out`, in one of the formats of `EXPORTS`.

    Raises:
        CheckpointError: `unsupported_format` if the format cannot express this network; and those of
            `import_checkpoint`.
    """
    found = import_checkpoint(weights).generator
    if not isinstance(found.config, StyleGAN2Config):
        raise CheckpointError("unsupported_format", f"{found.name} cannot be exported, only stylegan2 can")
    torch.save(EXPORTS[format](found.config, found.state), out)


def to_rosinality(config: StyleGAN2Config, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Our weights with the names and shapes of rosinality.

    Raises:
        CheckpointError: `unsupported_format` for what names and shapes cannot say.
    """
    foreign = {
        "classes": config.c_dim > 0,
        f"the {config.architecture} architecture": config.architecture != "skip",
        "layers without noise": not config.use_noise,
        f"clamping to {config.conv_clamp}": config.conv_clamp is not None,
        "another resampling filter": config.resample_filter != (1, 3, 3, 1),
        "another learning rate of the mapping": config.mapping_lr_multiplier != 0.01,
    }
    if found := [what for what, present in foreign.items() if present]:
        raise CheckpointError("unsupported_format", f"rosinality's format has no word for {', '.join(found)}")
    g_ema: dict[str, Tensor] = {}
    for name, value in state.items():
        g_ema.update(_translate(name, value))
    return {"g_ema": g_ema, "latent_avg": state["mapping.w_avg"][None]}


def to_nvlabs_state_dict(_config: StyleGAN2Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All parameters and buffers by the official names."""
    return dict(state)


EXPORTS: dict[str, Callable[[StyleGAN2Config, Mapping[str, Tensor]], dict[str, Any]]] = {
    "rosinality": to_rosinality,
    "nvlabs-state-dict": to_nvlabs_state_dict,
}


def _translate(name: str, value: Tensor) -> dict[str, Tensor]:
    """One of our tensors under their name. They keep filters only where something is doubled."""
    network, *path = name.split(".")
    if name == "mapping.w_avg":
        return {}
    if network == "mapping":
        return {f"style.{int(path[0].removeprefix('fc')) + 1}.{path[1]}": value}
    k = int(path[0].removeprefix("b")).bit_length() - 4  # their to_rgbs.0 and convs.0 are at 8 pixels
    match path[1:]:
        case ["const"]:
            return {"input.input": value[None]}
        case ["resample_filter"]:
            return {f"to_rgbs.{k}.upsample.kernel": 4 * value} if k >= 0 else {}
        case ["torgb", *part]:
            layer = f"to_rgbs.{k}" if k >= 0 else "to_rgb1"
            return (
                {f"{layer}.bias": value.reshape(1, -1, 1, 1)}
                if part == ["bias"]
                else _in_layer(layer, part, value)
            )
        case ["conv0", "resample_filter"]:
            return {f"convs.{2 * k}.conv.blur.kernel": 4 * value}
        case ["conv0" | "conv1" as conv, *part]:
            i = 2 * k + int(conv[-1])
            if part == ["noise_const"]:
                return {f"noises.noise_{i + 1}": value[None, None]}
            return _in_layer(f"convs.{i}" if k >= 0 else "conv1", part, value)
    raise AssertionError(name)


def _in_layer(layer: str, part: list[str], value: Tensor) -> dict[str, Tensor]:
    match part:
        case ["weight"]:
            return {f"{layer}.conv.weight": value[None]}
        case ["affine", kind]:
            return {f"{layer}.conv.modulation.{kind}": value}
        case ["bias"]:
            return {f"{layer}.activate.bias": value}
        case ["noise_strength"]:
            return {f"{layer}.noise.weight": value.reshape(1)}
    return {}
