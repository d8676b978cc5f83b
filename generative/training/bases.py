"""The subspaces of EigenGAN in training (He et al., 2021, section 3.2): how they begin, and what keeps their
bases orthonormal.

As in LynnHo/EigenGAN-Tensorflow: importances begin at 3 Q, ..., 6, 3, and the bases are penalised, not
orthogonalised.
"""

import torch
from torch import Tensor, nn

from generative.networks.eigengan import Subspace


def subspaces(generator: nn.Module) -> list[Subspace]:
    """Coarse to fine; none in other families."""
    return [module for module in generator.modules() if isinstance(module, Subspace)]


@torch.no_grad()
def begin(generator: nn.Module) -> None:
    """Orthonormal bases and falling importances, in place; draws from torch's global generator."""
    for subspace in subspaces(generator):
        nn.init.orthogonal_(subspace.U)
        subspace.L.copy_(3.0 * torch.arange(len(subspace.L), 0, -1))


def orthogonality(generator: nn.Module) -> Tensor:
    """Sum over the levels of the squared Frobenius norm of U Uᵀ - I: 0 for orthonormal bases."""
    total = torch.zeros(())
    for subspace in subspaces(generator):
        gram = subspace.U @ subspace.U.T
        total = total + (gram - torch.eye(len(gram), device=gram.device)).square().sum()
    return total
