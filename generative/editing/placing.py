"""Edits that say where a latent arrives, and not how far it goes.

* `to_boundary`: at a signed distance from the hyperplane through the origin whose normal is the direction, as
  in the interpolation of InterFaceGAN;
* `to_coordinate`: at a place along the direction, from the mean of the space, as in the editing of GANSpace's
  components by encoder4editing and PTI, and in the traversals of EigenGAN.

Latents are (N, dim), or (N, L, dim) for W+.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from generative.editing.direction import Direction


def to_boundary(
    latents: Tensor, direction: Direction, distance: float, layers: Sequence[int] | None = None
) -> Tensor:
    """x + (distance - x . n) n with the unit normal n; in W+ each chosen layer by itself."""
    normal = direction.vector.to(latents)
    normal = normal / normal.norm(dim=-1, keepdim=True)
    along = (latents * normal).sum(dim=-1, keepdim=True)
    return _moved(latents, (distance - along) * normal, direction, layers)


def to_coordinate(
    latents: Tensor,
    direction: Direction,
    coordinate: float,
    mean: Tensor | None = None,
    layers: Sequence[int] | None = None,
) -> Tensor:
    """x + (coordinate sigma - (x - mean) . v) v with the unit vector v.

    As published, in W+ the place is measured on the first layer, and all chosen layers take the same step.
    A direction of W+ with a part for each layer is measured on the part of the first.

    Args:
        coordinate: in the direction's sigma, or in lengths of its vector if it is not in sigmas.
        mean: (dim,); None for 0, which is that of Z.
    """
    vector = direction.vector.to(latents)
    first = vector[0] if vector.ndim == 2 else vector
    length = first.norm()
    target = coordinate * (direction.sigma if direction.unit == "sigma" else float(length))
    here = latents[:, 0] if latents.ndim == 3 else latents
    centred = here if mean is None else here - mean.to(latents)
    step = (target - centred @ (first / length)) / length
    return _moved(latents, step.reshape(-1, *[1] * (latents.ndim - 1)) * vector, direction, layers)


def _moved(latents: Tensor, offset: Tensor, direction: Direction, layers: Sequence[int] | None) -> Tensor:
    chosen = layers if layers is not None else direction.layers
    if chosen is None or latents.ndim == 2:
        return latents + offset
    moved = latents.clone()
    moved[:, list(chosen)] += offset.expand_as(latents)[:, list(chosen)]
    return moved


def axis(dimension: int, size: int) -> Tensor:
    """(size,): the unit vector of a coordinate."""
    return torch.nn.functional.one_hot(torch.tensor(dimension), size).float()
