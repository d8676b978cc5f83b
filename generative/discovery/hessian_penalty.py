"""Disentanglement as a penalty: "The Hessian Penalty: A Weak Prior for Unsupervised Disentanglement"
(Peebles, Peebles, Zhu, Efros & Torralba, 2020).

Agrees with `hessian_penalty_pytorch.py` of wpeebles/hessian_penalty, and with its batches of edits along
learned directions. The penalty is the variance, over random signs x, of the second difference of G along x:
it is 0 where the Hessian of every output is diagonal, so that each latent coordinate acts by itself.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

EPSILON, DRAWS = 0.1, 2
Reduction = Literal["max", "mean"]


def draw_signs(count: int, z: Tensor, generator: torch.Generator) -> Tensor:
    """(count, *z.shape) of -1 and 1: the directions of Hutchinson's estimate."""
    drawn = torch.randint(2, (count, *z.shape), generator=generator, device=generator.device)
    return (2 * drawn - 1).to(z)


def hessian_penalty(
    G: Callable[[Tensor], Tensor | Sequence[Tensor]],
    z: Tensor,
    signs: Tensor,
    epsilon: float = EPSILON,
    reduction: Reduction = "max",
) -> Tensor:
    """The penalty of G at z, (), differentiable; that of several outputs is the sum of theirs.

    Args:
        G: z (N, dim) -> an output (N, ...) or several.
        signs: (K, N, dim) from `draw_signs`, at least 2.
        epsilon: step of the second difference.
        reduction: over all elements of an output's variance.
    """
    found = variances(G, z, signs, epsilon)
    return torch.stack([v.max() if reduction == "max" else v.mean() for v in found]).sum()


def row_penalties(
    G: Callable[[Tensor], Tensor | Sequence[Tensor]], z: Tensor, signs: Tensor, epsilon: float = EPSILON
) -> Tensor:
    """The penalty of each latent alone, (N,): the largest element of its own outputs."""
    found = variances(G, z, signs, epsilon)
    return torch.stack([v.reshape(len(v), -1).amax(dim=1) for v in found]).sum(dim=0)


def variances(
    G: Callable[[Tensor], Tensor | Sequence[Tensor]], z: Tensor, signs: Tensor, epsilon: float = EPSILON
) -> list[Tensor]:
    """Over the draws, of the second difference of each output; each has the output's shape (N, ...)."""
    if len(signs) < 2:
        raise ValueError("a variance needs two draws")
    centre = _outputs(G(z))
    differences = [
        [
            (after - 2 * here + before) / epsilon**2
            for after, here, before in zip(
                _outputs(G(z + epsilon * x)), centre, _outputs(G(z - epsilon * x)), strict=True
            )
        ]
        for x in signs
    ]
    return [torch.stack(draws).var(dim=0, correction=1) for draws in zip(*differences, strict=True)]


def _outputs(result: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def orthonormal(directions: Tensor) -> Tensor:
    """(K, dim) -> (K, dim): unit rows at right angles, each as near to its direction as those before allow.

    The published matrices are factors of training, and not of unit length.
    """
    Q, R = torch.linalg.qr(directions.double().T)
    return (Q * torch.where(R.diagonal() < 0, -1.0, 1.0)).T.to(directions)


def edits(
    z: Tensor, directions: Tensor, lengths: Tensor, steps: Tensor, start_at_zero: bool = True
) -> Tensor:
    """Every latent moved along every direction by every step.

    z: (N, dim), directions: (K, dim) -> (K, N, S, dim).

    Args:
        lengths: (K,) of the path along each direction, in multiples of its vector.
        steps: (S,), such as -1 to 1.
        start_at_zero: take the latent's own part along the direction away first, as in published pictures.
    """
    squared = directions.square().sum(dim=1)
    amount = lengths[:, None, None] * steps  # (K, 1, S)
    if start_at_zero:
        amount = amount - (directions @ z.T / squared[:, None])[:, :, None]
    return z[:, None] + amount[..., None] * directions[:, None, None]
