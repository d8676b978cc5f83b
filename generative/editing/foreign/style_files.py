"""Files about style channels, which hold no directions themselves: what `discovery.stylespace` and
`discovery.styleclip_global` make directions from.

* StyleSpace's `S_mean_std`: a pickle of two lists, mean and standard deviation of each layer's styles;
* StyleSpace's `semantic_top_32`: a pickle of an array (channels, regions) for each layer, the share of
  pictures in which the region explains best where a channel acts;
* StyleCLIP's `fs3.npy`: (channels, 512), what each channel does in CLIP space. That of FFHQ may end early.
"""

from collections.abc import Sequence

from torch import Tensor

from generative.checkpoints.errors import CheckpointError
from generative.discovery.stylespace import StyleStatistics
from generative.editing.foreign.opened import open_file
from generative.editing.foreign.request import numbers


def read_style_statistics(content: bytes, widths: Sequence[int]) -> StyleStatistics:
    """Means and standard deviations for a model whose layers have these numbers of channels.

    Raises:
        CheckpointError: if they are for other layers, or the file is something else.
    """
    match open_file(content):
        case [list(means), list(stds)]:
            found = StyleStatistics(_layers(means, widths), _layers(stds, widths))
            if all(bool((s >= 0).all()) for s in found.std):
                return found
            raise CheckpointError("bad_tensor", "a standard deviation below 0")
    raise CheckpointError("unsupported_format", "not the mean and standard deviation of styles")


def _layers(arrays: list[object], widths: Sequence[int]) -> list[Tensor]:
    if len(arrays) != len(widths):
        raise CheckpointError("wrong_shapes", f"{len(arrays)} layers of styles, for a model of {len(widths)}")
    return [numbers(array, (width,)) for array, width in zip(arrays, widths, strict=True)]


def read_region_shares(content: bytes, widths: Sequence[int]) -> list[Tensor]:
    """For each layer (channels, regions), of a model whose layers have these numbers of channels."""
    root = open_file(content)
    if not isinstance(root, list) or len(root) != len(widths):
        raise CheckpointError("wrong_shapes", f"not an array for each of {len(widths)} layers of styles")
    return [numbers(array, (width, None)) for array, width in zip(root, widths, strict=True)]


def read_channel_directions(content: bytes, channels: int) -> Tensor:
    """(C, E) with C at most `channels`, those of all layers but ToRGB."""
    directions = numbers(open_file(content), (None, None))
    if len(directions) > channels:
        raise CheckpointError(
            "wrong_shapes",
            f"{len(directions)} style channels, for a model of {channels} without those of ToRGB",
        )
    return directions
