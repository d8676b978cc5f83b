"""Operations that the engine runs on the device, one batch at a time for many jobs.

Each is `op(generator, inputs) -> outputs`; tensors are (N, ...), and row i of the outputs follows from
row i of the inputs alone. All that decides a pixel happens in here, truncation and rounding too: the
engine computes in blocks of one shape, so that a picture's bytes do not depend on its company.

L is num_ws. Pictures leave as uint8 (N, H, W, C).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.generator import Generator, Noise, StyleGenerator
from generative.inversion.feature_space import standing
from generative.pixels import to_uint8
from generative.spaces import broadcast

NOISE = "noise:"  # prefix of the names of noise inputs; the layer's name follows

Inputs = Mapping[str, Tensor]


def map_z(generator: StyleGenerator, inputs: Inputs) -> Tensor:
    """z (N, z_dim), psi (N, L), for a conditional model c (N, c_dim) -> truncated ws (N, L, w_dim)."""
    w = generator.map(inputs["z"], inputs.get("c"))
    return generator.w_avg.lerp(broadcast(w, generator.num_ws), inputs["psi"][:, :, None])


@dataclass(frozen=True)
class Paint:
    """Codes -> pictures. A code is ws (N, L, w_dim) or styles (N, S), with `noise:<layer>` (N, 1, H, W) for
    the layers whose noise is given and `features:<layer>` (N, C, H, W) for one whose output is; or, for
    families without W, z (N, z_dim) and perhaps c (N, c_dim).
    """

    noise: Noise = "none"  # of the layers whose noise is not given
    lod: float | None = None
    psi: float = 1.0  # for families without W

    def __call__(self, generator: Generator, inputs: Inputs) -> Tensor:
        if isinstance(generator, StyleGenerator):
            images = self._from_styles(generator, inputs)
        else:
            images = generator(inputs["z"], inputs.get("c"), self.psi, lod=self.lod)
        return to_uint8(images, generator.pixel_gain, generator.pixel_offset)

    def _from_styles(self, generator: StyleGenerator, inputs: Inputs) -> Tensor:
        noises = {name.removeprefix(NOISE): t for name, t in inputs.items() if name.startswith(NOISE)}
        if "styles" in inputs:
            styles = generator.split_styles(inputs["styles"])
        else:
            styles = generator.styles(inputs["ws"])
        hook = standing(inputs)
        return generator.synthesize_styles(styles, self.noise, noises or None, lod=self.lod, hook=hook)


def style_rows(generator: StyleGenerator, inputs: Inputs) -> Tensor:
    """ws (N, L, w_dim) -> (N, S): the styles of all layers, coarse to fine, one after the other."""
    return torch.cat(list(generator.styles(inputs["ws"]).values()), dim=1)
