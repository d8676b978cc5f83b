"""Operations of the engine that look into a generator while it paints, and reach into it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from generative.discovery.dissection import edit
from generative.generator import Generator, Hook
from generative.pixels import to_uint8
from workers.work.painting import Paint

PICTURES, AMOUNTS = "pictures", "amounts"
Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Features:
    """What `painting.Paint` takes -> `pictures` (N, H, W, C) uint8, and of each layer (N, U, h, w) float32.

    Raises ValueError for a layer that the generator lacks.
    """

    layers: tuple[str, ...]
    psi: float = 1.0  # for families without W

    def __call__(self, generator: Generator, inputs: Inputs) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> Tensor:
            seen[name] = value
            return value

        pictures = _painted(generator, inputs, self.psi, keep)
        if missing := [name for name in self.layers if name not in seen]:
            raise ValueError(f"there is no layer {missing[0]!r}; there are {', '.join(seen)}")
        return {PICTURES: pictures} | {name: seen[name].float() for name in self.layers}


@dataclass(frozen=True)
class Ablated:
    """As `painting.Paint`, with `amounts` (N, U) in [0, 1] by which units of a layer are turned off."""

    layer: str
    psi: float = 1.0

    def __call__(self, generator: Generator, inputs: Inputs) -> Tensor:
        off = inputs[AMOUNTS][:, :, None, None]

        def dim(name: str, value: Tensor) -> Tensor:
            return edit(value, off.to(value).expand_as(value)) if name == self.layer else value

        return _painted(generator, inputs, self.psi, dim)


def _painted(generator: Generator, inputs: Inputs, psi: float, hook: Hook) -> Tensor:
    images = Paint("const", psi=psi).images(generator, inputs, hook)
    return to_uint8(images, generator.pixel_gain, generator.pixel_offset)
