"""The generator of "In-Domain GAN Inversion for Real Image Editing" (Zhu et al., 2020): a StyleGAN whose
mapping network makes a w of its own for every layer, and whose pictures go through tanh.

Parameter names are those of `generative.networks.stylegan`, numbers those of genforce/idinvert_pytorch.
`generative.networks.idinvert_encoder` leads from pictures to its W+.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from generative.generator import Hook, Noise
from generative.networks import stylegan
from generative.spaces import Space


@dataclass(frozen=True)
class IdInvertConfig(stylegan.StyleGANConfig):
    """Fields as in StyleGAN."""

    @property
    def mapping_outputs(self) -> int:
        """Numbers that the mapping network makes of a z: a w for every layer."""
        return self.num_ws * self.w_dim


class Generator(stylegan.Generator):
    """z -> W+ -> styles -> picture; there is no W."""

    family = "idinvert"
    spaces = (Space.Z, Space.W_PLUS, Space.S)

    def __init__(self, config: IdInvertConfig) -> None:
        super().__init__(config)

    def map(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """z: (N, z_dim), c: (N, c_dim) for a conditional model -> ws: (N, num_ws, w_dim), not truncated."""
        return super().map(z, c).unflatten(1, (self.num_ws, self.w_dim))

    def synthesize_styles(
        self,
        styles: Mapping[str, Tensor],
        noise: Noise = "const",
        noises: Mapping[str, Tensor] | None = None,
        rng: torch.Generator | None = None,
        *,
        lod: float | None = None,
        hook: Hook | None = None,
    ) -> Tensor:
        """As in StyleGAN; the pictures are within [-1, 1]. Hooks see them before tanh."""
        return super().synthesize_styles(styles, noise, noises, rng, lod=lod, hook=hook).tanh()
