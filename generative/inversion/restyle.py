"""ReStyle ("ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement", Alaluf et al., 2021): an
encoder that sees what it painted, and corrects it, a few times over.

The loop is that of yuval-alaluf/restyle-encoder (`run_on_batch`), to rounding.

Axis letters: N batch, L layers of the generator, C channels, H W pixels, R pixels of the generator.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Pass(NamedTuple):
    """What one pass makes."""

    ws: Tensor  # (N, L, w_dim)
    images: Tensor  # (N, C, R, R), what they paint


def restyle(
    images: Tensor,
    encode: Callable[[Tensor, Tensor], Tensor],
    paint: Callable[[Tensor], Tensor],
    average: Tensor,
    passes: int = 5,
) -> Iterator[Pass]:
    """Encode pictures, beginning with the average picture; the last pass is the result.

    Args:
        images: (N, C, H, W) in [-1, 1], of the size that the encoder wants.
        encode: pictures beside what is painted of them so far, (N, 2C, H, W), and the codes that painted it,
            (N, L, w_dim) -> better codes.
        paint: (N, L, w_dim) -> (N, C, R, R) in [-1, 1], with noise that is always the same.
        average: (L, w_dim), the mean of w.
    """
    size = (images.shape[2], images.shape[3])
    ws = average.expand(len(images), -1, -1)
    painted = paint(average[None]).expand(len(images), -1, -1, -1)
    for _ in range(passes):
        seen = torch.cat([images, F.adaptive_avg_pool2d(painted, size)], dim=1)
        ws = encode(seen, ws)
        painted = paint(ws)
        yield Pass(ws, painted)
