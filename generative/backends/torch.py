"""Torch: the generator itself, or its prepared synthesis, which is faster and paints only.

`prepared` is `generative.networks.stylegan2_fast` for StyleGAN2, in float32 or bfloat16.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from generative.backend import BackendError
from generative.generator import Generator, Noise, StyleGenerator
from generative.networks import stylegan2
from generative.networks.stylegan2_fast import FastSynthesis
from generative.networks.stylegan2_static import StaticSynthesis
from generative.pixels import to_uint8

Synthesis = Callable[[Mapping[str, Tensor], Mapping[str, Tensor | None]], Tensor]


class TorchBackend:
    """The generator as it is."""

    name = "torch"

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._device = next(generator.parameters()).device
        self.where = str(self._device)

    @torch.no_grad()
    def map(self, z: Tensor, c: Tensor | None, psi: Tensor) -> Tensor:
        c = None if c is None else self._here(c)
        return self._styled().map_truncated(self._here(z), c, self._here(psi))

    @torch.no_grad()
    def styles(self, ws: Tensor) -> Tensor:
        return self._styled().style_rows(self._here(ws))

    @torch.no_grad()
    def paint(
        self, codes: Mapping[str, Tensor], noise: Noise, noises: Mapping[str, Tensor], psi: float = 1.0
    ) -> Tensor:
        given = {name: self._here(value) for name, value in codes.items()}
        maps = {name: self._here(value) for name, value in noises.items()}
        g = self._generator
        if not isinstance(g, StyleGenerator):
            images = g(given["z"], given.get("c"), psi)
        elif "styles" in given:
            images = self._synthesize(g.split_styles(given["styles"]), noise, maps)
        else:
            images = self._synthesize(g.styles(given["ws"]), noise, maps)
        return to_uint8(images, g.pixel_gain, g.pixel_offset)

    def unload(self) -> None:
        """Nothing: weights go with their last user, and the generator's are needed for gradients, too."""

    def _synthesize(self, styles: Mapping[str, Tensor], noise: Noise, noises: Mapping[str, Tensor]) -> Tensor:
        """By layer name: styles (N, I), noises (N, 1, H, W) -> (N, C, H, W) in about [-1, 1]."""
        return self._styled().synthesize_styles(styles, noise, noises or None)

    def _styled(self) -> StyleGenerator:
        if not isinstance(self._generator, StyleGenerator):
            raise BackendError(f"the family {self._generator.family} has no W")
        return self._generator

    def _here(self, value: Tensor) -> Tensor:
        return value.to(self._device)


class PreparedBackend(TorchBackend):
    """StyleGAN2 with everything that follows from weights alone computed beforehand."""

    name = "prepared"

    def __init__(self, generator: stylegan2.Generator, dtype: torch.dtype) -> None:
        super().__init__(generator)
        self.where, self._dtype = f"{self._device}, {str(dtype).removeprefix('torch.')}", dtype
        self._stylegan2 = generator
        self._prepared: StaticSynthesis | None = None  # until a picture is asked for

    def _synthesize(self, styles: Mapping[str, Tensor], noise: Noise, noises: Mapping[str, Tensor]) -> Tensor:
        if self._prepared is None:
            self._prepared = fast_synthesis(self._stylegan2, self._dtype)
        stored = self._stylegan2.stored_noise()
        N = next(iter(styles.values())).shape[0]
        drawn = self._stylegan2.draw_noises(noise, noises, stored, N, None)
        images: Tensor = self._prepared(styles, drawn)
        return images


def fast_synthesis(generator: stylegan2.Generator, dtype: torch.dtype) -> StaticSynthesis:
    """The prepared network, where the generator is."""
    device = generator.mapping.w_avg.device
    network = FastSynthesis(generator, dtype) if device.type == "cpu" else StaticSynthesis(generator, dtype)
    return network.eval().requires_grad_(False)
