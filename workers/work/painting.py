"""Operations that the engine runs on the device, one batch at a time for many jobs.

Each is `op(generator, inputs) -> outputs`; tensors are (N, ...), and row i of the outputs follows from
row i of the inputs alone. All that decides a pixel happens in here, truncation and rounding too: the
engine computes in blocks of one shape, so that a picture's bytes do not depend on its company.

L is num_ws. Pictures leave as uint8 (N, H, W, C).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from generative.editing.regions import blend, mask_at
from generative.editing.units import switch
from generative.generator import Generator, Hook, Noise, StyleGenerator, pass_on
from generative.inversion.feature_space import carried, standing
from generative.pixels import from_uint8, to_uint8

NOISE = "noise:"  # prefix of the names of noise inputs; the layer's name follows

Inputs = Mapping[str, Tensor]


def map_z(generator: StyleGenerator, inputs: Inputs) -> Tensor:
    """z (N, z_dim), psi (N, L), for a conditional model c (N, c_dim) -> truncated ws (N, L, w_dim)."""
    return generator.map_truncated(inputs["z"], inputs.get("c"), inputs["psi"])


@dataclass(frozen=True)
class Paint:
    """Codes -> pictures. A code is ws (N, L, w_dim), styles (N, S), or what `map_z` takes, with
    `noise:<layer>` (N, 1, H, W) for the layers whose noise is given and `features:<layer>` (N, C, H, W) for
    one whose output is; or, for families without W, z (N, z_dim) and perhaps c (N, c_dim).
    """

    noise: Noise = "none"  # of the layers whose noise is not given
    lod: float | None = None
    psi: float = 1.0  # for families without W

    def __call__(self, generator: Generator, inputs: Inputs) -> Tensor:
        images = self.images(generator, inputs)
        return to_uint8(images, generator.pixel_gain, generator.pixel_offset)

    def images(self, generator: Generator, inputs: Inputs, hook: Hook | None = None) -> Tensor:
        """(N, C, H, W), not cut to bytes."""
        if isinstance(generator, StyleGenerator):
            return self._from_styles(generator, inputs, hook)
        return generator(inputs["z"], inputs.get("c"), self.psi, lod=self.lod, hook=hook)

    def _from_styles(self, generator: StyleGenerator, inputs: Inputs, hook: Hook | None) -> Tensor:
        noises = {name.removeprefix(NOISE): t for name, t in inputs.items() if name.startswith(NOISE)}
        if "styles" in inputs:
            styles = generator.split_styles(inputs["styles"])
        else:
            styles = generator.styles(inputs["ws"] if "ws" in inputs else map_z(generator, inputs))
        both = _one_after_the_other(standing(inputs) or pass_on, hook or pass_on)
        return generator.synthesize_styles(styles, self.noise, noises or None, lod=self.lod, hook=both)


@dataclass(frozen=True)
class Touch:
    """What happens to the output of a layer. units: `amount` and `value` (N, U), `mask` (N, 1, R, R).
    offset: `offset` (N, U) or (N, U, h, w), `mask` too.
    """

    kind: Literal["units", "offset"]
    layer: str
    code: int | None
    """Whose features are touched; None for all codes."""

    def __call__(self, x: Tensor, inputs: Inputs) -> Tensor:
        """x: (N, U, h, w), of one code."""
        mask = _share(inputs["mask"])
        if self.kind == "units":
            return switch(x, inputs["amount"], inputs["value"], mask)
        offset = inputs["offset"]
        return x + offset.reshape(*offset.shape, *[1] * (4 - offset.ndim)) * mask_at(mask, x.shape[-2:])


@dataclass(frozen=True)
class PaintEdited:
    """As `Paint`, with hooks: K regions, painted from codes of their own, and touches of features.

    Inputs are those of `Paint`; for region k = 1, 2, ... its code under `code<k>:<name>` and its `mask<k>`
    (N, 1, R, R) uint8; for touch i what it needs under `touch<i>:<name>`. Noise is the same for all codes.
    """

    paint: Paint
    touches: tuple[Touch, ...]
    of_styles: tuple[bool, ...]
    """For each region whether it splits styles (`generative.editing.regions`)."""

    def __call__(self, generator: Generator, inputs: Inputs) -> Tensor:
        images = self.paint.images(generator, self._stacked(inputs), self._hook(generator, inputs))
        last = images.chunk(len(self.of_styles) + 1)[-1]
        return to_uint8(last, generator.pixel_gain, generator.pixel_offset)

    def _stacked(self, inputs: Inputs) -> dict[str, Tensor]:
        """The codes one after the other, ((K + 1) N, ...) each."""
        own = {n: t for n, t in inputs.items() if not n.startswith(("code", "mask", "touch"))}
        codes = [{n: inputs.get(f"code{k + 1}:{n}", t) for n, t in own.items()} for k in self._regions]
        return {n: torch.cat([t, *(code[n] for code in codes)]) for n, t in own.items()}

    @property
    def _regions(self) -> range:
        return range(len(self.of_styles))

    def _hook(self, generator: Generator, inputs: Inputs) -> Hook:
        masks = [_share(inputs[f"mask{k + 1}"]) for k in self._regions]
        blended = generator.layers if isinstance(generator, StyleGenerator) else None
        needs = [_inputs_of(f"touch{i}:", inputs) for i in range(len(self.touches))]

        def hook(name: str, x: Tensor) -> Tensor:
            for touch, given in zip(self.touches, needs, strict=True):
                if touch.layer == name:
                    codes = list(x.chunk(len(masks) + 1))
                    for k in range(len(codes)) if touch.code is None else (touch.code,):
                        codes[k] = touch(codes[k], given)
                    x = torch.cat(codes)
            if masks and (blended is None or name in blended):
                x = blend(x, masks, self.of_styles)
            return x

        return hook


def _one_after_the_other(first: Hook, second: Hook) -> Hook:
    return lambda name, value: second(name, first(name, value))


def _share(mask: Tensor) -> Tensor:
    return mask.float() / 255


def _inputs_of(prefix: str, inputs: Inputs) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in inputs.items() if n.startswith(prefix)}


def carry(generator: StyleGenerator, inputs: Inputs) -> dict[str, Tensor]:
    """ws (N, L, w_dim) and maps `features:<layer>` that stand there -> the maps for `moved` (N, L, w_dim)."""
    return carried(generator, inputs, inputs["moved"])


def style_rows(generator: StyleGenerator, inputs: Inputs) -> Tensor:
    """ws (N, L, w_dim) -> (N, S): the styles of all layers, coarse to fine, one after the other."""
    return generator.style_rows(inputs["ws"])


def label_parts(network: Any, inputs: Inputs) -> Tensor:
    """pictures (N, H, W, C) uint8 -> (N, H, W) uint8: the part that each pixel shows."""
    labels: Tensor = network.label(from_uint8(inputs["pictures"]).expand(-1, 3, -1, -1))
    return labels
