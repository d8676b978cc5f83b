"""The directions that an EigenGAN has by its making: one for each dimension of each level's subspace
("EigenGAN: Layer-Wise Eigen-Learning for GANs", He et al., 2021, section 3).

Nothing is searched for. Dimensions are ranked by how far they move the features: the length of their column
of U diag(L).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from generative.networks.eigengan import Generator, Level


@dataclass(frozen=True)
class Dimension:
    """One number of z that has a subspace's dimension."""

    level: int  # from 1, coarse to fine
    index: int  # in the level, from 0
    place: int  # in z
    side: int  # of the level's features, in pixels
    length: float  # of what a step of 1 adds to the features

    def vector(self, z_dim: int) -> Tensor:
        """(z_dim,): one standard deviation."""
        return torch.zeros(z_dim).index_fill(0, torch.tensor(self.place), 1.0)


def dimensions(generator: Generator) -> list[Dimension]:
    """All of them, level by level, in each level the one that moves most first."""
    found = []
    levels = list(generator.z_slices.values())[1:]  # before them is the noise
    for i, (part, block) in enumerate(zip(levels, generator.blocks, strict=True)):
        assert isinstance(block, Level)
        lengths = (block.projection.U * block.projection.L[:, None]).norm(dim=1).tolist()
        own = [Dimension(i + 1, k, part.start + k, 4 << i, length) for k, length in enumerate(lengths)]
        found += sorted(own, key=lambda dimension: -dimension.length)
    return found
