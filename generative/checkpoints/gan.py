"""Multilayer perceptrons after Goodfellow et al. (2014), as tutorials save them: a bare state dict.

One layout is known: modules of one `nn.Sequential`, `<prefix>.<i>.weight` (the prefix may be missing), linear
layers in the order of i, `BatchNorm1d` right after some of them. Such a file says nothing of activations and
of the picture; what is assumed in their place is noted.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from generative.checkpoints.configs import read_config
from generative.checkpoints.contents import Contents, Format, Network, make_state
from generative.checkpoints.flat import Shapes, flat_shapes, without_counters
from generative.networks.gan import GANConfig

MIN_SIDE = 8  # pixels: what has fewer outputs is hardly a picture
_KEY = re.compile(
    r"((?:\w+\.)*?)(0|[1-9]\d{0,2})\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)
_LINEAR = {"weight", "bias"}
_NORM = {"weight", "bias", "running_mean", "running_var"}
NOTES = (
    "the file does not say what follows its layers; assumed: leaky ReLU of slope 0.2, after the last tanh",
    "the file does not say what its numbers are; assumed: a square picture, one channel after the other",
)
NORM_NOTE = "the file does not say BatchNorm's epsilon; assumed: 1e-5"


@dataclass
class _Layer:
    index: int
    inputs: int
    outputs: int
    norm: int | None = None  # index of the BatchNorm that follows


def _layers(shapes: Shapes) -> list[_Layer]:
    """The chain of linear layers. Empty if there is anything else, or the widths do not link."""
    modules: dict[int, Shapes] = {}
    prefixes = set()
    for name, shape in shapes.items():
        if (match := _KEY.fullmatch(name)) is None:
            return []
        prefixes.add(match[1])
        modules.setdefault(int(match[2]), {})[match[3]] = shape
    layers: list[_Layer] = []
    for index, parts in sorted(modules.items()):
        parts.pop("num_batches_tracked", None)
        weight = parts.get("weight", ())
        if set(parts) == _LINEAR and len(weight) == 2:
            layers.append(_Layer(index, weight[1], weight[0]))
        elif set(parts) == _NORM and layers and index == layers[-1].index + 1:
            layers[-1].norm = index
        else:
            return []
    linked = all(a.outputs == b.inputs for a, b in pairwise(layers))
    return layers if linked and len(prefixes) == 1 else []


def _picture(numbers: int) -> tuple[int, int]:
    """Channels and side of a square picture of so many numbers: grey if possible, else of 3 channels."""
    for channels in (1, 3):
        side = math.isqrt(numbers // channels)
        if channels * side**2 == numbers:
            return channels, side
    return 0, 0


def _recognises(root: Any) -> bool:
    """A generator makes more numbers than it takes, which a discriminator or a mapping network does not."""
    layers = _layers(flat_shapes(root))
    return (
        len(layers) > 1
        and layers[-1].outputs > layers[0].inputs
        and _picture(layers[-1].outputs)[1] >= MIN_SIDE
    )


def _read(root: Any, budget: int) -> Contents:
    layers = _layers(flat_shapes(root))
    channels, side = _picture(layers[-1].outputs)
    config = read_config(
        GANConfig,
        {
            "z_dim": layers[0].inputs,
            "widths": tuple(layer.outputs for layer in layers[:-1]),
            "norms": tuple(layer.norm is not None for layer in layers),
            "img_resolution": side,
            "img_channels": channels,
        },
    )
    ours = {layer.index: f"layers.{i}" for i, layer in enumerate(layers)}
    ours |= {layer.norm: f"norms.{i}" for i, layer in enumerate(layers) if layer.norm is not None}
    state: dict[str, Tensor] = {}
    for name, value in make_state(without_counters(root), "the file", budget).items():
        *_, index, part = name.split(".")
        state[f"{ours[int(index)]}.{part}"] = value
    notes = (*NOTES, NORM_NOTE) if any(config.norms) else NOTES
    return Contents("gan", Network("gan", config, state), notes=notes)


FORMAT = Format("gan", _recognises, _read)
