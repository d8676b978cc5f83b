"""StyleGAN2 with the names of genforce, brought to ours.

Its numbers are those of the official TensorFlow variables: kernels of up convolutions are turned by 180
degrees, biases of styles lack the 1 that styles start from, and filters have the gain 4 of upsampling in
them.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.networks.stylegan2 import StyleGAN2Config
from generative.ops.upfirdn2d import fir_filter

_PARTS = {
    "weight": "weight",
    "bias": "bias",
    "style.weight": "affine.weight",
    "style.bias": "affine.bias",
    "noise": "noise_const",
    "noise_strength": "noise_strength",
    "filter.kernel": "resample_filter",
}


def from_genforce_stylegan2(state: Mapping[str, Tensor], config: StyleGAN2Config) -> dict[str, Tensor]:
    """The state_dict with our names. Names that are not known stay, so that the check of all names them.

    Raises:
        CheckpointError: `missing_keys`.
    """
    if (upsample := state.get("synthesis.upsample.kernel")) is None:
        raise CheckpointError("missing_keys", "missing: synthesis.upsample.kernel")
    ours = {"synthesis.b4.resample_filter": fir_filter((1, 3, 3, 1))}  # nothing reads it, as in other `conv1`
    for r in config.resolutions:
        ours[f"synthesis.b{r}.conv1.resample_filter"] = fir_filter((1, 3, 3, 1))
        if r > 4:
            ours[f"synthesis.b{r}.resample_filter"] = _first(upsample, 2) / 4
    for name, value in state.items():
        if name != "synthesis.upsample.kernel":
            ours.update(_translated(name, value))
    return ours


def _translated(name: str, value: Tensor) -> dict[str, Tensor]:
    if name == "truncation.w_avg":
        return {"mapping.w_avg": value}
    if name == "synthesis.early_layer.const":
        return {"synthesis.b4.const": _first(value, 3)}
    if match := re.fullmatch(r"mapping\.dense(0|[1-9]\d?)\.(weight|bias)", name):
        return {f"mapping.fc{match[1]}.{match[2]}": value}
    match = re.fullmatch(r"synthesis\.(layer|output)(0|[1-9]\d?)\.(.+)", name)
    if match and match[3] in _PARTS:
        layer = _layer(match[1], int(match[2]))
        return {f"synthesis.{layer}.{_PARTS[match[3]]}": _converted(layer, match[3], value)}
    return {name: value}


def _layer(kind: str, i: int) -> str:
    """Our name of their `layer0` (at 4x4), `layer1` (up to 8x8), `layer2`, ... or of `output0`, ..."""
    return f"b{4 << i}.torgb" if kind == "output" else f"b{4 << (i + 1) // 2}.conv{1 - i % 2}"


def _converted(layer: str, part: str, value: Tensor) -> Tensor:
    match part:
        case "weight" if layer.endswith("conv0") and value.ndim == 4:
            return value.flip((2, 3))
        case "style.bias":
            return value + 1
        case "noise":
            return _first(value, 2)
        case "filter.kernel":
            return _first(value, 2) / 4
    return value


def _first(value: Tensor, ndim: int) -> Tensor:
    """Without leading axes of 1, down to `ndim` axes; other shapes stay, and will be found wrong."""
    while value.ndim > ndim and len(value) == 1:
        value = value[0]
    return value
