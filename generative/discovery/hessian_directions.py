"""Directions learnt with the Hessian penalty, as in section 4.3 of "The Hessian Penalty: A Weak Prior for
Unsupervised Disentanglement" (Peebles et al., 2020): a turned set of axes of a trained generator's latents,
along which its Hessian is as diagonal as can be.

The axes are a whole basis, orthonormal at every step, so that the penalty cannot be avoided by axes that do
nothing.

Axis letters: B latents of a step, D dim, K draws of signs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from generative.discovery.hessian_penalty import DRAWS, draw_signs, orthonormal, row_penalties

Listener = Callable[[int, float], None]  # steps done, mean penalty of the last


class Slope(Protocol):
    """How the penalty depends on the axes."""

    def __call__(self, latents: Tensor, axes: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D), (D, D) rows, (B, K, D) -> the penalty of each latent (B,), and the gradient of their mean
        for the axes.
        """
        ...


@dataclass(frozen=True)
class HessianTraining:
    steps: int = 100
    batch: int = 8
    learning_rate: float = 0.01
    seed: int = 0


def penalties(G: Callable[[Tensor], Tensor], latents: Tensor, axes: Tensor, signs: Tensor) -> Tensor:
    """(B,), of G around latents (B, D) in the coordinates along axes (B, D, D), a set for each;
    differentiable for the axes. signs: (B, K, D).
    """

    def along(steps: Tensor) -> Tensor:
        return G(latents + torch.einsum("bd,bde->be", steps, axes))

    return row_penalties(along, torch.zeros_like(latents), signs.transpose(0, 1))


def slope_of(G: Callable[[Tensor], Tensor]) -> Slope:
    """`Slope` of a generator by autograd."""

    def slope(latents: Tensor, axes: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
        known = axes.detach().requires_grad_()
        found = penalties(G, latents, known.expand(len(latents), -1, -1), signs)
        [gradient] = torch.autograd.grad(found.mean(), known)
        return found.detach(), gradient

    return slope


def learn_axes(
    draw: Callable[[int, int], Tensor],
    dim: int,
    slope: Slope,
    settings: HessianTraining,
    listener: Listener | None = None,
) -> Tensor:
    """(D, D) orthonormal rows, in no order.

    Args:
        draw: number of a step, how many -> latents (B, D).
        dim: D.
        listener: called after every step; may raise to end the training.
    """
    rng = torch.Generator().manual_seed(settings.seed)
    matrix = torch.linalg.qr(torch.randn(dim, dim, generator=rng))[0].requires_grad_()
    optimizer = torch.optim.Adam([matrix], settings.learning_rate)
    for step in range(settings.steps):
        latents = draw(step, settings.batch)
        signs = draw_signs(DRAWS, latents, rng).transpose(0, 1)
        axes = orthonormal(matrix)
        found, gradient = slope(latents, axes.detach(), signs)
        optimizer.zero_grad()
        axes.backward(gradient)
        optimizer.step()
        if listener is not None:
            listener(step + 1, float(found.mean()))
    return orthonormal(matrix.detach())
