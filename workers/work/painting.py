"""Operations that the engine runs on the device, one batch at a time for many jobs.

Each is `op(generator, inputs) -> outputs`; tensors are (N, ...), and row i of the outputs follows from
row i of the inputs alone. All that decides a pixel happens in here, truncation and rounding too: the
engine computes in blocks of one shape, so that a picture's bytes do not depend on its company.

L is num_ws. Pictures leave as uint8 (N, H, W, C).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from generative.networks.stylegan2 import Generator, Noise
from generative.pixels import to_uint8
from generative.spaces import broadcast

NOISE = "noise:"  # prefix of the names of noise inputs; the layer's name follows

Inputs = Mapping[str, Tensor]


def map_z(generator: Generator, inputs: Inputs) -> Tensor:
    """z (N, z_dim), psi (N, L), for a conditional model c (N, c_dim) -> truncated ws (N, L, w_dim)."""
    w = generator.map(inputs["z"], inputs.get("c"))
    return generator.mapping.w_avg.lerp(broadcast(w, generator.num_ws), inputs["psi"][:, :, None])


def paint_const(generator: Generator, inputs: Inputs) -> Tensor:
    """ws (N, L, w_dim) or styles (N, S) -> pictures with the stored noise."""
    return _paint(generator, inputs, "const")


def paint_plain(generator: Generator, inputs: Inputs) -> Tensor:
    """ws (N, L, w_dim) or styles (N, S) -> pictures without noise."""
    return _paint(generator, inputs, "none")


def paint_noises(generator: Generator, inputs: Inputs) -> Tensor:
    """ws or styles, and `noise:<layer>` (N, 1, H, W) for every layer that takes noise -> pictures."""
    return _paint(generator, inputs, "none")


def style_rows(generator: Generator, inputs: Inputs) -> Tensor:
    """ws (N, L, w_dim) -> (N, S): the styles of all layers, coarse to fine, one after the other."""
    return torch.cat(list(generator.styles(inputs["ws"]).values()), dim=1)


def style_widths(generator: Generator) -> dict[str, int]:
    """Channels of each layer's styles, in the order of `style_rows`; their sum is S."""
    return {name: generator.synthesis.layer(name).affine.weight.shape[0] for name in generator.layers}


def _paint(generator: Generator, inputs: Inputs, noise: Noise) -> Tensor:
    noises = {name.removeprefix(NOISE): t for name, t in inputs.items() if name.startswith(NOISE)}
    if "styles" in inputs:
        widths = style_widths(generator)
        styles = dict(zip(widths, inputs["styles"].split(list(widths.values()), dim=1), strict=True))
    else:
        styles = generator.styles(inputs["ws"])
    return to_uint8(generator.synthesize_styles(styles, noise, noises or None))
