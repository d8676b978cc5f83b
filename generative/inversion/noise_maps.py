"""Noise maps as parameters: kept noise-like, so that they paint texture and not the picture.

From Karras et al., 2020, appendix D; agrees with the projector of NVlabs/stylegan2-ada-pytorch.
"""

import torch.nn.functional as F
from torch import Tensor

SMALLEST = 8  # pixels; the pyramid ends here


def autocorrelation(noise: Tensor) -> Tensor:
    """How much neighbours resemble each other, at every scale of a pyramid: (N, 1, H, W) -> (N,), at least 0.

    Squared mean products with the left and upper neighbour (around the edge), halved down to 8 pixels. 0 on
    average for independent values, up to sampling error.
    """
    total = noise.new_zeros(len(noise))
    while True:
        for axis in (3, 2):
            total = total + (noise * noise.roll(1, axis)).mean(dim=(1, 2, 3)).square()
        if noise.shape[2] <= SMALLEST:
            return total
        noise = F.avg_pool2d(noise, 2)


def normalized(noise: Tensor) -> Tensor:
    """Each map of (N, 1, H, W) to zero mean and unit mean square."""
    centred = noise - noise.mean(dim=(1, 2, 3), keepdim=True)
    return centred * centred.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
