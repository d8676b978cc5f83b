"""Features as a space: a map that takes the place of what one layer makes, and the ws of the layers behind.

After the F/W+ space of "GAN Inversion for Out-of-Range Images with Geometric Transformations" (BDInvert, Kang
et al., 2021) and the FS space of "Barbershop" (Zhu et al., 2021). As there, the map begins at what the start
latent makes, and is held near to it; what comes before the layer keeps the start latent. Two things differ:
the layers behind take a w each, where Barbershop has styles; and the distance is measured in variances of
the layer's features, so that a weight means the same in every layer.

A code is one row: the map, then the ws of all layers, (C H W + L D). Axis letters: N pictures, L layers
(num_ws), D is w_dim, C H W of the map.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from generative.generator import Hook, StyleGenerator, collected, up_to

FEATURES = "features:"  # input "features:b16.conv1" is the map that stands in that layer
LARGEST = 32  # pixels: the side of the map unless a layer is named, and
SHARE = 4  # at most a quarter of the picture's
MAX_NUMBERS = 2**21  # of a map: a checkpoint holds three times as many for each picture


class Feature:
    """One layer of a generator, as a place where maps may stand."""

    def __init__(self, generator: StyleGenerator, layer: str | None = None) -> None:
        """
        Args:
            layer: left out: the last with maps of at most 32 pixels and a quarter of the picture.

        Raises:
            ValueError: no layer has that name, or its map is too large to be searched.
        """
        shapes = map_shapes(generator)
        if layer is not None and layer not in shapes:
            raise ValueError(f"there is no layer {layer!r}; the model has {', '.join(shapes)}")
        self.generator, self.layer = generator, layer or _middle(shapes, generator.img_resolution)
        self.shape = shapes[self.layer]
        if self.shape.numel() > MAX_NUMBERS:
            raise ValueError(f"the map of {self.layer} has {self.shape.numel()} numbers, over {MAX_NUMBERS}")

    @property
    def behind(self) -> int:
        """The first of the ws that act behind the layer."""
        return self.generator.ws_index[self.layer] + 1

    def of(self, ws: Tensor) -> Tensor:
        """What the layer makes by itself. (N, L, D) -> (N, C, H, W)."""
        return made(self.generator, self.layer, ws)


def made(generator: StyleGenerator, layer: str, ws: Tensor) -> Tensor:
    """What a layer makes by itself, computed no further. (N, L, D) -> (N, C, H, W)."""
    return up_to(layer, lambda hook: generator.synthesize(ws, hook=hook))


def standing(inputs: Mapping[str, Tensor]) -> Hook | None:
    """The hook that puts the maps among the inputs of a picture into their layers; None without any."""
    maps = {name.removeprefix(FEATURES): t for name, t in inputs.items() if name.startswith(FEATURES)}
    return (lambda name, value: maps.get(name, value)) if maps else None


@torch.no_grad()
def carried(generator: StyleGenerator, inputs: Mapping[str, Tensor], ws: Tensor) -> dict[str, Tensor]:
    """The maps among the inputs of a picture, after its ws (N, L, D) were moved to others.

    A map moves by as much as what the layer makes by itself (Yao et al., "A Style-Based GAN Encoder for High
    Fidelity Reconstruction of Images and Videos", 2022, section 3.4).
    """
    moved = {}
    for name in (name for name in inputs if name.startswith(FEATURES)):
        before, after = (made(generator, name.removeprefix(FEATURES), at) for at in (inputs["ws"], ws))
        moved[name] = inputs[name] + after - before
    return moved


@torch.no_grad()
def map_shapes(generator: StyleGenerator) -> dict[str, torch.Size]:
    """(C, H, W) of what each layer makes, coarse to fine, without those that make colours."""
    names = [name for name in generator.layers if "rgb" not in name]
    ws = next(generator.parameters()).new_zeros(1, generator.num_ws, generator.w_dim)
    made = collected(lambda hook: generator.synthesize(ws, hook=hook), names)
    return {name: made[name].shape[1:] for name in names}


def _middle(shapes: Mapping[str, torch.Size], resolution: int) -> str:
    limit = min(LARGEST, resolution // SHARE)
    small = [name for name, shape in shapes.items() if shape[-1] <= limit]
    return small[-1] if small else next(iter(shapes))
