"""Configurations of the models of genforce, from the names and shapes that genforce/genforce gives their
tensors.

What names and shapes do not say is taken to be the default of the official code.

Axis letters: I channels in, O channels out.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise, takewhile
from typing import Any, TypeVar

from generative.checkpoints.configs import read_config
from generative.checkpoints.errors import CheckpointError
from generative.networks.pggan import PGGANConfig
from generative.networks.stylegan import StyleGANConfig
from generative.networks.stylegan2 import StyleGAN2Config

Shapes = Mapping[str, tuple[int, ...]]
StyleGANKind = TypeVar("StyleGANKind", bound=StyleGANConfig)


def pggan_config(shapes: Shapes) -> PGGANConfig:
    """A label would be part of what `layer0` takes, where it cannot be told from z: by default there is none.

    Raises:
        CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`.
    """
    fields = _picture(shapes, "", first_layer=lambda i: 2 * i)
    changes = enumerate(pairwise(fields["channels"]), start=1)
    fused = [shape_of(shapes, f"layer{2 * i}.weight", 4)[:2] == (I, O) for i, (I, O) in changes if I != O]
    z_dim = shape_of(shapes, "layer0.weight", 4)[1]
    return read_config(PGGANConfig, fields | {"z_dim": z_dim, "fused_scale": any(fused)})


def stylegan_config(kind: type[StyleGANKind], shapes: Shapes, fused_scale: object) -> StyleGANKind:
    """The configuration, of StyleGAN or one derived from it.

    Raises:
        CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`.
    """
    fields = _picture(shapes, "synthesis.", first_layer=lambda i: 2 * i) | _mapping(shapes)
    if "mapping.label_weight" in shapes:
        fields["c_dim"], width = shape_of(shapes, "mapping.label_weight", 2)
        fields["z_dim"] -= width  # the label lies beside z
    fields["mapping_fmaps"] = shape_of(shapes, "mapping.dense0.weight", 2)[0]
    return read_config(kind, fields | {"fused_scale": fused_scale})


def stylegan2_config(shapes: Shapes) -> StyleGAN2Config:
    """Raises CheckpointError: `missing_keys`, `wrong_shapes`, `bad_config`."""
    fields = _picture(shapes, "synthesis.", first_layer=lambda i: max(2 * i - 1, 0)) | _mapping(shapes)
    fields["channels"] = tuple((4 << i, C) for i, C in enumerate(fields["channels"]))
    return read_config(StyleGAN2Config, fields)


def shape_of(shapes: Shapes, name: str, axes: int) -> tuple[int, ...]:
    """Raises CheckpointError: `missing_keys`, `wrong_shapes`."""
    if name not in shapes:
        raise CheckpointError("missing_keys", f"missing: {name}")
    if len(shapes[name]) != axes:
        raise CheckpointError("wrong_shapes", f"{name} {shapes[name]} has not {axes} axes")
    return shapes[name]


def length(shapes: Shapes, numbered: str, start: int = 0) -> int:
    """How many names there are of a kind, such as `output{}.weight`: numbered from `start`, without gaps."""
    return len(list(takewhile(shapes.__contains__, map(numbered.format, range(start, 100)))))


def _picture(shapes: Shapes, prefix: str, first_layer: Callable[[int], int]) -> dict[str, Any]:
    """What all families have. `first_layer` gives the first layer of a block, which has its channels."""
    img_channels = shape_of(shapes, f"{prefix}output0.weight", 4)[0]
    blocks = range(length(shapes, prefix + "output{}.weight"))
    channels = tuple(shape_of(shapes, f"{prefix}layer{first_layer(i)}.bias", 1)[0] for i in blocks)
    return {"img_resolution": 2 << len(blocks), "img_channels": img_channels, "channels": channels}


def _mapping(shapes: Shapes) -> dict[str, Any]:
    return {
        "z_dim": shape_of(shapes, "mapping.dense0.weight", 2)[1],
        "w_dim": shape_of(shapes, "synthesis.layer0.style.weight", 2)[1],
        "mapping_layers": length(shapes, "mapping.dense{}.weight"),
    }
