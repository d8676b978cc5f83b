"""The portraits world: toy portraits with exact truth.

    factors = sample(16, torch.Generator().manual_seed(0))   # (16, F), columns are FACTORS
    picture = render(factors, size=64)                       # .image (16, 3, 64, 64) in [-1, 1]

Same factors, same picture, to the last bit, alone or in a batch, on one device.
"""

from generative.worlds.anatomy import PARTS
from generative.worlds.factors import FACTORS, NAMES, Factor, check, columns, index, matrix, replace, sample
from generative.worlds.geometry import Camera
from generative.worlds.render import Rendered, render

__all__ = [
    "FACTORS",
    "NAMES",
    "PARTS",
    "Camera",
    "Factor",
    "Rendered",
    "check",
    "columns",
    "index",
    "matrix",
    "render",
    "replace",
    "sample",
]
