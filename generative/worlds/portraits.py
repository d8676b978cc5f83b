"""The portraits world: toy portraits with exact truth.

    factors = sample(16, torch.Generator().manual_seed(0))  # (16, F), columns are FACTORS
    picture = render(factors, size=64, truth=True)          # .image (16, 3, 64, 64) in [-1, 1], .parts, ...
    words = caption(factors)

Same factors, same picture, to the last bit, alone or in a batch, with any number of threads. The modules
beside this one: `factors` (what varies, and how), `anatomy` (factors to solids), `geometry` and `trace`
(rays), `paint`, `looks`, `light`, `spectacles` and `palettes` (what is seen), `render` (all together),
`captions`, `steady` (exact functions).
"""

from generative.worlds.anatomy import PARTS
from generative.worlds.captions import caption, facts
from generative.worlds.factors import FACTORS, NAMES, Factor, check, columns, index, matrix, replace, sample
from generative.worlds.geometry import BACKDROP, STAND, Camera
from generative.worlds.render import Rendered, render

__all__ = [
    "BACKDROP",
    "FACTORS",
    "NAMES",
    "PARTS",
    "STAND",
    "Camera",
    "Factor",
    "Rendered",
    "caption",
    "check",
    "columns",
    "facts",
    "index",
    "matrix",
    "render",
    "replace",
    "sample",
]
